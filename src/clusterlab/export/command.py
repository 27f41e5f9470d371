"""`python -m clusterlab export RUN_DIR --output DIR`: the model in files that other programmes can serve."""

from collections.abc import Sequence
from pathlib import Path

from clusterlab.arguments import Parser
from clusterlab.export import ALWAYS, PROGRAMMES


def main(words: Sequence[str]) -> None:
    """Write the folder, whole or not at all.

    Raises:
        UserError: something that a person can put right, or a programme that does not say what the model says.
    """
    arguments = _parser().parse_args(words)
    from clusterlab.export.folder import export  # with it comes torch, which --help can do without

    export(arguments.run_dir, arguments.output, formats=arguments.format, images=arguments.images)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m clusterlab export",
        description="Write the model of a finished run so that other programmes can serve it: its weights and config, "
        "and programmes that take uint8 images of the stored size and give probabilities and embeddings.",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="the folder of the run, or a copy of its model/")
    parser.add_argument("--output", type=Path, metavar="DIR", required=True, help="a new folder")
    parser.add_argument(
        "--format",
        nargs="+",
        default=[ALWAYS],
        choices=[ALWAYS, *PROGRAMMES],
        help=f"{ALWAYS} is always written; torch: a programme of torch.export; onnx needs clusterlab[onnx]",
    )
    parser.add_argument("--images", type=Path, help="also compare on these: a folder, an image or a list, as predict")
    return parser

"""Training sees no label: who may read `sealed_labels`, and who may import the function that does."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
READER = "clusterlab.evaluation.labels"
MAY_IMPORT_READER = ("clusterlab.evaluation", "clusterlab.output")


def module_name(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def reads_labels(tree: ast.AST) -> bool:
    """Whether the name is read, as `x.sealed_labels` or by its name as text; a keyword argument is not."""
    return any(
        (isinstance(node, ast.Attribute) and node.attr == "sealed_labels")
        or (isinstance(node, ast.Constant) and node.value == "sealed_labels")
        for node in ast.walk(tree)
    )


def imports_reader(tree: ast.AST, module: str, is_package: bool) -> bool:
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level + is_package or None] if node.level else []
            source = ".".join([*parents, *filter(None, [node.module])])
            imported |= {source, *(f"{source}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and node.value == READER:  # importlib.import_module("…")
            imported.add(READER)
    return READER in imported


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


FILES = sorted(SRC.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_labels_are_read_and_their_reader_imported_only_where_scores_are_made(path: Path):
    module, tree = module_name(path), ast.parse(path.read_text(encoding="utf-8"))
    if module != READER:
        assert not reads_labels(tree), f"{module} reads sealed_labels"
    if not within(module, MAY_IMPORT_READER):
        assert not imports_reader(tree, module, path.name == "__init__.py"), f"{module} imports {READER}"


def test_the_one_reader_is_seen_by_this_test():
    path = SRC / "clusterlab" / "evaluation" / "labels.py"
    assert path in FILES
    assert reads_labels(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("source", ["x = images.sealed_labels", "getattr(images, 'sealed_labels')"])
def test_a_reader_would_be_found(source: str):
    assert reads_labels(ast.parse(source))


@pytest.mark.parametrize("source", ["ImageSet(sealed_labels=labels)", "replace(images, sealed_labels=None)"])
def test_sealing_labels_is_no_reading(source: str):
    assert not reads_labels(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "import clusterlab.evaluation.labels",
        "from clusterlab.evaluation.labels import true_labels",
        "from clusterlab.evaluation import labels",
        "from ..evaluation import labels",
        "from ..evaluation.labels import true_labels",
        "import_module('clusterlab.evaluation.labels')",
        "def late():\n    from clusterlab.evaluation import labels",
    ],
)
def test_an_import_would_be_found(source: str):
    assert imports_reader(ast.parse(source), "clusterlab.heads.scan", is_package=False)


def test_label_free_parts_of_evaluation_may_be_imported():
    source = "from clusterlab.evaluation.collapse import cluster_health"
    assert not imports_reader(ast.parse(source), "clusterlab.heads.scan", is_package=False)

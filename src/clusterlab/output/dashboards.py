"""Where a run can be watched: Weights & Biases, TensorBoard or a CSV file. Nothing here can ask, hang or fail.

`history.csv` and `report.html` are written whatever is chosen. Each dashboard's library is imported when it is opened.
"""

from typing import Literal

from clusterlab.output.dashboard import About, Dashboard, gave_up

Kind = Literal["wandb", "tensorboard", "csv", "none"]


def open_dashboard(kind: Kind, about: About) -> Dashboard:
    """Start the dashboard `kind`, or one that does nothing where that fails."""
    try:
        if kind == "wandb":
            from clusterlab.output.weights_and_biases import open_wandb

            return open_wandb(about)
        if kind == "tensorboard":
            from clusterlab.output.local_dashboards import TensorBoard

            return TensorBoard(about)
        if kind == "csv":
            from clusterlab.output.local_dashboards import CsvFile

            return CsvFile(about)
    except Exception as error:
        gave_up(f"logger={kind}", error)
    return Dashboard()

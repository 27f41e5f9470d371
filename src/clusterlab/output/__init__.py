"""What a run leaves behind: tables, scores, the report, the model and dashboards."""

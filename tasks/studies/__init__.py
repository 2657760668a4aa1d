"""The studies, one folder each; `robustray.tasks.study.STUDIES` lists them."""

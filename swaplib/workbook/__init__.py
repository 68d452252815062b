"""The workbook: its headless runner, the papers' claims, the studies, whole trainings and the release of weights."""

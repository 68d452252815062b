"""The workbook's runner, claims and studies, and what the commands do: trainings, imports, releases, swaps of files."""

"""The workbook: its headless runner, and the ledger of the papers' claims."""

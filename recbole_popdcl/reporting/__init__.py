"""Reports: tables and figures from run folders, as one page and as files."""

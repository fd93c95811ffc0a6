"""Reports: tables and figures from run folders, as one page and as files."""

NEEDS = "reports need matplotlib and Jinja2: pip install 'recbole-popdcl[report]'"

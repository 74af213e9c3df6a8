"""Tables of claims on a page of prose."""

from kdlib.analysis.claim_tables import Table
from kdlib.results import in_classes, markdown_table

STYLES = '<link rel="stylesheet" href="../_static/explorer.css">'  # of the pages that have such tables or the explorer


def in_page(table: Table) -> str:
    """A table of sentences for a page of prose: its columns are kept wide enough to be read."""
    return f"```{{raw}} html\n{STYLES}\n```\n\n{in_classes(markdown_table(*table), 'kdclaims')}"

"""Tables as a notebook shows them: small HTML tables in the notebook's own colours."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, StrictUndefined, Template

from dwp_sweep.tables.table import Table

_NOTEBOOK = """
{%- macro shown(cell) -%}
{% if cell.emphasis == "strong" %}<b>{{ cell.text }}</b>{% else %}{{ cell.text }}{% endif %}
{%- if cell.aside %}<small>{{ cell.aside }}</small>{% endif %}
{%- endmacro -%}
{%- for table in tables -%}
<div>
{%- if table.title %}<b>{{ table.title }}</b>{{ table.subtitle }}{% endif %}
{%- if table.rows %}<table>
{%- if table.has_header %}<thead><tr>
{%- for column in table.columns %}<th style="text-align:left">{{ column.title }}</th>{% endfor -%}
</tr></thead>{% endif %}<tbody>
{%- for row in table.rows %}<tr>
{%- for cell in row %}<td style="text-align:left">{{ shown(cell) }}</td>{% endfor -%}
</tr>{% endfor -%}
</tbody></table>{% endif %}
{%- for line in table.lines %}<div>{{ shown(line) }}</div>{% endfor %}
{%- for note in table.notes %}<div><small>{{ note }}</small></div>{% endfor -%}
</div>
{%- endfor -%}
"""


def notebook_html(tables: tuple[Table, ...]) -> str:
    """Tables one below the other; everything in them is escaped."""
    return _template().render(tables=tables)


@cache
def _template() -> Template:
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(_NOTEBOOK)

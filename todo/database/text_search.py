"""Case-insensitive text search with full Unicode case folding on each database."""

import sys
from functools import cache
from typing import Any

from sqlalchemy import Boolean, Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from todo.models import COLLATION

# The dotless i shares its upper case with i, so a noncharacter replaces it.
_DOTLESS_I = "\N{LATIN SMALL LETTER DOTLESS I}", "\ufdd0"


class contains(FunctionElement[bool]):  # noqa: N801 - named as in SQL
    """A SQL function: True if the case-folded first text contains the case-folded second text."""

    type = Boolean()
    inherit_cache = True


@compiles(contains)
def _compile(element: contains, compiler: SQLCompiler, **options: Any) -> str:
    position, fold = _WORDS[compiler.dialect.name]
    terms = [fold(compiler.process(text, **options), compiler.dialect) for text in element.clauses]
    return f"{position}({', '.join(terms)}) > 0"


def _fold_of_sqlite(text: str, _: Dialect) -> str:
    # SQLite's lower() folds ASCII only, and is five times as fast as `casefold`, a function in Python.
    # `sqlite.configure_connections` registers that. The driver fails on text arguments that are not UTF-8.
    data = f"CAST({text} AS BLOB)"
    return f"CASE WHEN length({text}) = length({data}) THEN lower({text}) ELSE casefold({data}) END"


def _fold_of_postgresql(text: str, dialect: Dialect) -> str:
    if (dialect.server_version_info or ()) >= (18,):
        return f"casefold({text} COLLATE pg_unicode_fast)"
    letter, aside = _DOTLESS_I
    # lower() first, because upper() does not change ẞ.
    return f"upper(lower(replace({text}, '{letter}', '{aside}') COLLATE \"und-x-icu\"))"


def _fold_of_mariadb(text: str, _: Dialect) -> str:
    """Replace characters that fold to several, because MariaDB maps single characters only."""
    special = _several() | dict([_DOTLESS_I])
    text = replaced = f"({text} COLLATE {COLLATION})"  # the collation of the column, for parameters too
    for character, folded in special.items():
        replaced = f"replace({replaced}, '{character}', '{folded}')"
    text = f"if({text} REGEXP '[{''.join(special)}]', {replaced}, {text})"
    return f"upper(lower({text} COLLATE utf8mb4_uca1400_ai_ci)) COLLATE {COLLATION}"


@cache
def _several() -> dict[str, str]:
    characters = map(chr, range(sys.maxunicode + 1))
    return {character: folded for character in characters if len(folded := character.casefold()) > 1}


_WORDS = {
    "sqlite": ("instr", _fold_of_sqlite),
    "postgresql": ("strpos", _fold_of_postgresql),
    "mariadb": ("instr", _fold_of_mariadb),
}

"""Search in text without regard to case, by the full case folding of Unicode on each database."""

import sys
from functools import cache
from typing import Any

from sqlalchemy import Boolean, Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from todo.models import COLLATION

# The one letter of which the upper case is another letter's too. It stands aside as a noncharacter.
_DOTLESS_I = "\N{LATIN SMALL LETTER DOTLESS I}", "\ufdd0"


class contains(FunctionElement[bool]):  # noqa: N801 - a function of SQL
    """Whether the first text has the second one in it, both folded by the same function."""

    type = Boolean()
    inherit_cache = True


@compiles(contains)
def _compile(element: contains, compiler: SQLCompiler, **options: Any) -> str:
    position, fold = _WORDS[compiler.dialect.name]
    terms = [fold(compiler.process(text, **options), compiler.dialect) for text in element.clauses]
    return f"{position}({', '.join(terms)}) > 0"


def _fold_of_sqlite(text: str, _: Dialect) -> str:
    return f"casefold({text})"  # the service's own function


def _fold_of_postgresql(text: str, dialect: Dialect) -> str:
    if (dialect.server_version_info or ()) >= (18,):
        return f"casefold({text} COLLATE pg_unicode_fast)"
    letter, aside = _DOTLESS_I
    # Of the lower case first, since ẞ has no upper case.
    return f"upper(lower(replace({text}, '{letter}', '{aside}') COLLATE \"und-x-icu\"))"


def _fold_of_mariadb(text: str, _: Dialect) -> str:
    """MariaDB's cases are single characters; those that fold to several are replaced, where there are any."""
    special = _several() | dict([_DOTLESS_I])
    text = replaced = f"({text} COLLATE {COLLATION})"  # by which a parameter is compared too
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

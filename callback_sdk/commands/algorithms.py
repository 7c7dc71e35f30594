"""The command `algorithms`: what a service can run, and examples of its input and output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from callback_sdk.commands.client_options import TokenFile, Url, open_client
from callback_sdk.commands.completion import complete_algorithms, words
from callback_sdk.commands.options import AsJSON
from callback_sdk.commands.printing import one_line, print_document, print_facts, print_json, print_table
from callback_sdk.commands.states import one_of

if TYPE_CHECKING:
    from callback_sdk.client import Algorithm

_TEMPLATES = ("input", "output", "parameters")


def algorithms(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[ALGORITHM]",
            help="Show this algorithm.",
            show_default=False,
            autocompletion=complete_algorithms,
        ),
    ] = None,
    *,
    template: Annotated[
        str | None,
        typer.Option(
            metavar="input|output|parameters",
            help="Print an example of its input, output or parameters, as JSON.",
            show_default=False,
            autocompletion=words(*_TEMPLATES),
        ),
    ] = None,
    version: Annotated[str | None, typer.Option(help="With --template: version.", show_default="the newest")] = None,
    as_json: AsJSON = False,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """List the algorithms of a service, or show one, or an example of its input or output.

    An example is a file that `submit` accepts: `callback-sdk algorithms mean --template input > features.json`.

    Exit codes: 0 success; 1 an error, such as an unknown algorithm, or no such example; 2 wrong usage.
    """
    if template is not None and template not in _TEMPLATES:
        raise typer.BadParameter(f"Give {one_of(_TEMPLATES)}.", param_hint="--template")
    if template is not None and name is None:
        raise typer.BadParameter("Give an ALGORITHM too.", param_hint="--template")
    if version is not None and template is None:
        raise typer.BadParameter("Give --template too.", param_hint="--version")
    with open_client(url, token_file) as client:
        if name is not None and template is not None:
            print_document(client.get_template(name, template, version).read())
            return
        found = client.get_algorithms() if name is None else [client.get_algorithm(name)]
    if as_json:
        listed = [algorithm.to_dict() for algorithm in found]
        print_json(listed if name is None else listed[0])
    elif name is None:
        heads = ("ID", "VERSIONS", "DESCRIPTION")
        print_table(heads, ((one.id, _versions(one), one_line(one.description or "")) for one in found))
    else:
        print_facts(_facts(found[0]).items())


def _facts(algorithm: Algorithm) -> dict[str, str]:
    return {
        "ID": algorithm.id,
        "NAME": algorithm.name if algorithm.name != algorithm.id else "",
        "DESCRIPTION": one_line(algorithm.description or ""),
        "VERSIONS": _versions(algorithm),
        "EVALUATIONS": ", ".join(map(str, algorithm.evaluations)),
    }


def _versions(algorithm: Algorithm) -> str:
    return ", ".join(one.version for one in algorithm.versions)

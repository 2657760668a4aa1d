"""One module as `code.py` reads it: its top-level definitions, and what each of them names."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

Place = tuple[str, str]
"""(module, name of a top-level definition in it, or `WHOLE`, or `ON_IMPORT`)."""
WHOLE = "*"
"""All that a module defines."""
ON_IMPORT = ""
"""What a module does when it is imported, beside importing and defining."""

_Import = ast.Import | ast.ImportFrom
_Aliases = dict[str, tuple[str, str | None]]
"""Local name -> (module, the name in it; None for the module itself)."""


class Definitions:
    """The parsed source of a module of robustray.

    `own_file` gives the file of a module that counts, None for the standard library and installed packages;
    `binds(package, name)` tells whether a package itself has a name, which then is not its module of that name.
    """

    def __init__(
        self,
        module: str,
        source: bytes,
        is_package: bool,
        own_file: Callable[[str], Path | None],
        binds: Callable[[str, str], bool],
    ) -> None:
        self.module = module
        self._binds = binds
        self._package = _package(module, is_package)
        self._own_file = own_file
        body: list[ast.stmt] = _Bare().visit(ast.parse(source)).body
        imports = [statement for statement in body if isinstance(statement, _Import)]
        self._aliases = _aliases(imports, self._package)
        self._imported = [(each, ON_IMPORT) for each in _modules(imports, self._package)]
        self._defined: dict[str, list[ast.stmt]] = {}
        self._on_import: list[ast.stmt] = []
        for statement in body:
            names = _bound(statement)
            if names is None:
                self._on_import.append(statement)
            for name in names or ():
                self._defined.setdefault(name, []).append(statement)

    def __contains__(self, name: str) -> bool:
        return name in self._defined or name in self._aliases

    def look_up(self, name: str) -> tuple[str, list[Place]]:
        """The text of a definition, without what doesn't count, and the places that it names.

        A name that is only imported here has no text and leads to where it is defined.
        """
        if name == ON_IMPORT:
            text, places = self._read(self._on_import)
            return text, [*places, *self._imported]
        text, places = "", [(self.module, ON_IMPORT), *above(self.module)]
        if name == WHOLE:
            places += [(self.module, each) for each in self._defined]
        elif name in self._defined:
            text, named = self._read(self._defined[name])
            places += named
        elif name in self._aliases:
            places += self._resolve([name], self._aliases)
        elif self._own_file(f"{self.module}.{name}") is not None:
            places.append((f"{self.module}.{name}", WHOLE))
        elif "__getattr__" in self._defined:
            places.append((self.module, "__getattr__"))
        return text, places

    def _read(self, statements: list[ast.stmt]) -> tuple[str, list[Place]]:
        places: list[Place] = []
        for statement in statements:
            imports = [node for node in ast.walk(statement) if isinstance(node, _Import)]
            aliases = self._aliases | _aliases(imports, self._package)
            places += [(module, ON_IMPORT) for module in _modules(imports, self._package)]
            for chain in _chains(statement):
                places += self._resolve(chain, aliases)
        return "\n".join(map(ast.dump, statements)), places

    def _resolve(self, chain: list[str], aliases: _Aliases) -> list[Place]:
        """What `a.b.c` leads to: `a` may be a module, a name out of one, or a definition of this module."""
        first, *steps = chain
        if first not in aliases:
            return [(self.module, first)] if first in self._defined else []
        module, name = aliases[first]
        if not f"{module}.".startswith("robustray."):
            return []
        for step in ([name] if name else []) + steps:
            is_itself = (module, step) == (self.module, first)  # `from . import first`
            if self._own_file(f"{module}.{step}") is None or (self._binds(module, step) and not is_itself):
                return [(module, step)]
            module = f"{module}.{step}"
        return [(module, WHOLE)]


def imported_by(module: str, source: bytes, is_package: bool) -> list[Place]:
    """All that a module imports, lazily or not: `from a import b` may mean the module `a.b`."""
    package = _package(module, is_package)
    places: list[Place] = []
    for name, inner in _aliases(_imports_in(_Bare().visit(ast.parse(source))), package).values():
        places += [(name, inner or WHOLE), *above(name)]
        if inner is not None:
            places += [(f"{name}.{inner}", WHOLE), (name, ON_IMPORT)]
    return places


def above(module: str) -> list[Place]:
    """The packages above a module, as they are imported with it. robustray's own root leads to everything; it is not
    among them."""
    parts = module.split(".")
    packages = [".".join(parts[:count]) for count in range(1, len(parts))]
    return [(package, ON_IMPORT) for package in packages if package != "robustray"]


def _package(module: str, is_package: bool) -> str:
    return module if is_package else module.rpartition(".")[0]


def _bound(statement: ast.stmt) -> list[str] | None:
    """The names that a statement defines, if it does nothing else; None for a statement that does."""
    match statement:
        case ast.Import() | ast.ImportFrom() | ast.Pass():
            return []
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [statement.name]
        case ast.Assign():
            targets = statement.targets
        case ast.AnnAssign() | ast.AugAssign():
            targets = [statement.target]
        case _:
            return None
    inner = [each for target in targets for each in (target.elts if isinstance(target, ast.Tuple) else [target])]
    names = [each.id for each in inner if isinstance(each, ast.Name)]
    return names if len(names) == len(inner) else None


def _imports_in(tree: ast.AST) -> list[_Import]:
    return [node for node in ast.walk(tree) if isinstance(node, _Import)]


def _aliases(imports: Iterable[_Import], package: str) -> _Aliases:
    found: _Aliases = {}
    for node in imports:
        for alias in node.names:
            if isinstance(node, ast.ImportFrom):
                found[alias.asname or alias.name] = (_base(node, package), alias.name)
            elif alias.asname:
                found[alias.asname] = (alias.name, None)
            else:  # `import a.b` binds `a`, and both are there
                found[alias.name.partition(".")[0]] = (alias.name.partition(".")[0], None)
                found[alias.name] = (alias.name, None)
    return found


def _modules(imports: Iterable[_Import], package: str) -> list[str]:
    found: list[str] = []
    for node in imports:
        if isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            found += [alias.name for alias in node.names]
    return found


def _base(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def _chains(node: ast.AST) -> Iterator[list[str]]:
    """Every `a`, `a.b`, `a.b.c` below a node, each at its full length."""
    names: list[str] = []
    inner = node
    while isinstance(inner, ast.Attribute):
        names.append(inner.attr)
        inner = inner.value
    if isinstance(inner, ast.Name):
        yield [inner.id, *reversed(names)]
        return
    for child in ast.iter_child_nodes(inner):
        yield from _chains(child)


def _does_nothing(node: ast.If) -> bool:
    """`if ...: raise InputError(...)`, or `pass`, where the condition keeps nothing for later. (Other errors may be
    caught.)"""
    errors = [each.exc if isinstance(each, ast.Raise) else each for each in node.body]
    idle = [each for each in errors if isinstance(each, ast.Pass) or getattr(each, "id", "") == "InputError"]
    return len(idle) == len(node.body) and not node.orelse and not _keeps(node.test)


def _keeps(test: ast.expr) -> bool:
    """Does it give something a name (`:=`)?"""
    return any(isinstance(each, ast.NamedExpr) for each in ast.walk(test))


class _Bare(ast.NodeTransformer):
    """Takes away what has no bearing on a finished row."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Docstrings."""
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt] | None:
        """What only a type checker sees; what does nothing but refuse input: a row that is there was not refused."""
        self.generic_visit(node)
        if isinstance(node.test, ast.Name) and node.test.id.lstrip("_") == "TYPE_CHECKING":
            return node.orelse
        return None if _does_nothing(node) else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """An annotation has a meaning at run time where it makes a field of a dataclass none."""
        words = ast.unparse(node.annotation)
        node.annotation = ast.Constant(words if "ClassVar" in words or "InitVar" in words else "")
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """The words of an error: a row that is there was not ended by one."""
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        node.cause = None
        return self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> ast.AST | None:
        """What did not hold ended in no row."""
        node.msg = None
        return self.generic_visit(node) if _keeps(node.test) else None

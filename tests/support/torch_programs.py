"""Random small specs full of loops, conditions and skip connections, for the PyTorch emitter."""

from __future__ import annotations

import random


class Program:
    """A spec with one block that is used several times with other arguments."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.labels = 0

    def text(self) -> str:
        """The whole spec."""
        choose = self.random.choice
        variables = ["x", "y"]
        body = self._statements(variables, [], 0)
        uses: list[str] = []
        for place in range(self.random.randint(1, 3)):
            n, m = self.random.randint(0, 4), self.random.randint(0, 3)
            uses.append(f"  b{place} = B({n}, {m}, {choose(['true', 'false'])})")
            uses.append(f"  p, q = b{place}(p, q)")
        return "\n".join(
            [
                "edition 2026",
                "block B(n: int, m: int, a: bool)(x: [N, C], y: [N, C]) -> [N, C], [N, C] {",
                *body,
                f"  return {choose(['x', 'y'])}, {choose(variables)}",
                "}",
                "model net(x: [N, 4]) -> p: [N, 4], q: [N, 4] {",
                "  p = x",
                "  q = x * 0.5",
                *uses,
                "  return p = p, q = q",
                "}",
            ]
        )

    def _label(self, loops: list[str]) -> str:
        self.labels += 1
        return f"l{self.labels}" + "".join(f"_{{{variable}}}" for variable in loops)

    def _expression(self, variables: list[str], loops: list[str], depth: int = 0) -> str:
        variable = self.random.choice(variables)
        match self.random.randrange(7 if depth < 2 else 4):
            case 0:
                return f"({variable} -> {self._label(loops)}: Linear(C))"
            case 1:
                return f"relu({variable})"
            case 2:
                return f"tanh({variable})"
            case 3:
                return f"({variable} * 2.0)"
            case 4:
                sides = [self._expression(variables, loops, depth + 1) for _ in range(2)]
                return f"({sides[0]} + {sides[1]})"
            case 5:
                left = self._expression(variables, loops, depth + 1)
                return f"({left} * {self.random.choice(variables)})"
            case _:
                return f"({variable} -> {self._label(loops)}: {{ Linear(C) -> ReLU -> Linear(C) }})"

    def _statements(self, variables: list[str], loops: list[str], depth: int) -> list[str]:
        indent = "  " * (depth + 1)
        lines: list[str] = []
        for _ in range(self.random.randint(1, 3)):
            kind = self.random.randrange(8)
            if kind < 4 or depth > 2:
                targets = variables if depth else [*variables, f"t{self.random.randrange(3)}"]
                target = self.random.choice(targets)
                lines.append(f"{indent}{target} = {self._expression(variables, loops)}")
                if target not in variables:
                    variables.append(target)
            elif kind < 6:
                lines += self._branch(variables, loops, depth, indent)
            else:
                variable = f"i{len(loops)}"
                stop = self.random.choice(["n", "m", "2", "3"])
                lines.append(f"{indent}for {variable} in 0..{stop} {{")
                lines += self._statements(list(variables), [*loops, variable], depth + 1)
                lines.append(f"{indent}}}")
        return lines

    def _branch(self, variables: list[str], loops: list[str], depth: int, indent: str) -> list[str]:
        conditions = ["a", "n > 2", "not a", "n == m", "C == 4"]
        conditions += [f"{loop} {test}" for loop in loops for test in ("> 0", "== 1")]
        lines = [f"{indent}if {self.random.choice(conditions)} {{"]
        lines += self._statements(list(variables), loops, depth + 1)
        if self.random.random() < 0.5:
            lines.append(f"{indent}}} else {{")
            lines += self._statements(list(variables), loops, depth + 1)
        return [*lines, f"{indent}}}"]


class ScanProgram(Program):
    """A spec with scans among its statements, which stand in loops and branches and hold some."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.is_inside = False

    def _statements(self, variables: list[str], loops: list[str], depth: int) -> list[str]:
        lines = super()._statements(variables, loops, depth)
        if self.is_inside or depth > 2:
            return lines
        for _ in range(self.random.randint(0, 1 if depth else 2)):
            lines += self._scan(variables, loops, depth)
            if self.random.random() < 0.5:
                lines += super()._statements(variables, loops, depth + 2)
        return lines

    def _scan(self, variables: list[str], loops: list[str], depth: int) -> list[str]:
        choose, indent = self.random.choice, "  " * (depth + 1)
        self.labels += 1
        number = self.labels
        row = f"r{number}"
        one, other = choose(variables), choose(variables)
        self.is_inside = True
        body = self._statements(["e", "f", "s", row, "u"], loops, depth + 1)
        self.is_inside = False
        outputs = [choose([choose(variables), f"w{number}"]), f"v{number}"]
        has_finals = choose([True, False])
        finals = [f"g{number}", f"h{number}"] if has_finals else []
        lines = [
            f"{indent}{row} = mean({one}, axis=0)",
            f"{indent}{', '.join([*outputs, *finals])} = scan {choose(['', 'reverse '])}e, f"
            f" over {one}(axis=0), {other}(axis=0)"
            f" carry s = {row}, u = {choose([row, f'mean({other}, axis=0)'])} {{",
            *body,
            f"{indent}  s = {choose(['s + e', 'u * e', 'u + f', 'e', 'u'])}",
            f"{indent}  u = {choose(['u * f', 'tanh(u) + s', f'u + {row}'])}",
            f"{indent}  yield {choose(['e', 'f', 's', 'u', row])}, {choose(['f', 's', 'u'])}",
            f"{indent}}}",
        ]
        if not depth:
            variables += [output for output in outputs if output not in variables]
        if has_finals:
            lines.append(f"{indent}{choose(variables)} = {outputs[1]} * {finals[0]} + {finals[1]}")
        return lines

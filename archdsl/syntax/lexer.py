"""A contextual lexer with one regular expression for all contexts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from copy import copy
from typing import Any, cast

from lark import Token, UnexpectedCharacters, UnexpectedToken
from lark.lexer import BasicLexer, ContextualLexer, LexerState


class OneScanLexer(ContextualLexer):
    """Finds the tokens that Lark's contextual lexer finds.

    That one has an expression for every set of terminals that a state of the parser accepts, and
    compiling those takes longer than reading most texts. Here all terminals are tried first. When
    the one that is found is accepted, it is the first of the accepted too, since both orders are
    the same; otherwise the state is asked for its own expression.
    """

    def __init__(
        self, conf: Any, states: dict[int, Collection[str]], always_accept: Collection[str] = ()
    ) -> None:
        everywhere = {*conf.ignore, *always_accept}
        self._accepted = {state: everywhere.union(accepts) for state, accepts in states.items()}
        self._conf = conf
        self.root_lexer = _lexer_for(conf, conf.terminals)
        self.lexers: dict[Any, Any] = {}
        """Of the states that had to be asked."""
        self._ignored = self.root_lexer.ignore_types
        self._match = cast(Any, self.root_lexer).scanner.match
        self._words = {
            kind: {terminal.pattern.value: terminal.name for terminal in callback.scanner.terminals}
            for kind, callback in cast("dict[str, Any]", self.root_lexer.callback).items()
        }
        """What stands for something else than its pattern says: the keywords among the names."""

    def lex(self, lexer_state: LexerState, parser_state: Any) -> Iterator[Token]:
        text = cast(Any, lexer_state).text
        end: int = text.end
        place = lexer_state.line_ctr
        while place.char_pos < end:
            start = place.char_pos
            value, kind = self._match(text, start) or ("", "")
            if kind in self._words:
                kind = self._words[kind].get(value, kind)
            if kind not in self._accepted[parser_state.position]:
                token = self._contextual(lexer_state, parser_state)
                if token is not None:
                    yield token
                continue
            place.char_pos = start + len(value)
            if kind not in self._ignored:
                token = Token(kind, value, start, end_pos=place.char_pos)
                lexer_state.last_token = token
                yield token

    def _contextual(self, lexer_state: LexerState, parser_state: Any) -> Token | None:
        """The token as the state's own expression finds it; None at the end of the text."""
        state = parser_state.position
        if state not in self.lexers:
            by_name = self._conf.terminals_by_name
            names = self._accepted[state] & by_name.keys()
            self.lexers[state] = _lexer_for(self._conf, [by_name[name] for name in names])
        before = lexer_state.last_token
        try:
            return self.lexers[state].next_token(lexer_state, parser_state)
        except EOFError:
            return None
        except UnexpectedCharacters as error:
            token = self._anywhere(lexer_state, parser_state)
            if token is None:
                raise
            raise UnexpectedToken(
                token,
                error.allowed,
                state=parser_state,
                token_history=[before] if before else None,
                terminals_by_name=self.root_lexer.terminals_by_name,
            ) from None

    def _anywhere(self, lexer_state: LexerState, parser_state: Any) -> Token | None:
        """The next token by all terminals, for a message that names it."""
        try:
            return self.root_lexer.next_token(lexer_state, parser_state)
        except UnexpectedCharacters:
            return None


def _lexer_for(conf: Any, terminals: Collection[Any]) -> BasicLexer:
    chosen = copy(conf)
    chosen.terminals, chosen.skip_validation = list(terminals), True
    return BasicLexer(chosen)

"""The engine for services that speak OpenAI's API: vLLM, SGLang, llama.cpp, Ollama, TGI, OpenAI's own.

Every request is an HTTP request of its own, several of them under way at once: batching is the service's business.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llm.engines import openai_answers as answers
from pytest_llm.engines import openai_failures as failures
from pytest_llm.engines.openai_arguments import arguments_of
from pytest_llm.engines.openai_connection import Connection, TooManyError
from pytest_llm.engines.openai_key import Key
from pytest_llm.errors import InvalidInputError, LLMError, ModelNotFoundError, ServiceError
from pytest_llm.requests import Embed, Generate, Logprobs, Loss, Request, Score

if TYPE_CHECKING:
    from pytest_llm.engines.protocol import Answer

#: Requests under way at once, where ``--llm-batch-size`` allows as many.
IN_FLIGHT = 16
#: Seconds without any answer until the terminal says so.
PATIENCE = 30.0
#: What leaves sampling as it is. Some services refuse it: of OpenAI's reasoning models each has other words and other
#: arguments, TGI's top_p is below 1, and Claude takes one of the two.
_IDLE = {"temperature": 1.0, "top_p": 1.0}


class OpenAIEngine:
    """Asks the model ``name`` of the service at ``base_url`` (with its ``/v1``).

    The ``key`` is that of ``OPENAI_API_KEY`` by default; a service of one's own needs none. Logprobs are asked for
    with every generation, and left out where the service refuses them: goldens then have no evidence of near-ties. A
    request may take ``timeout`` seconds; after long silence ``tell`` is given a line that says so.
    """

    load_seconds = 0.0

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        timeout: float,
        key: Key | None = None,
        batch_size: int = IN_FLIGHT,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.connection = Connection(name, base_url, timeout, key or Key())
        self._in_flight = min(batch_size, IN_FLIGHT)
        self._tell = tell
        #: Arguments this service does without, and what it calls the number of tokens.
        self._refused: set[str] = set()
        self._limit = "max_tokens"
        self._learning = threading.Lock()

    def __str__(self) -> str:
        return str(self.connection)

    def check(self) -> bool:
        """Ask the service for the model, and return whether it lists it: some answer to a name that they do not list.

        Raises:
            ServiceError: it cannot be reached, or refuses.
            ModelNotFoundError: it has no such model.
        """
        try:
            with self.connection.errors("models"):
                names = self.connection.names()
            absent = ModelNotFoundError(f"{self}: not found{self.connection.offer(names)}")
        except ModelNotFoundError as error:  # it has no list
            names, absent = [], error
        if self.connection.name in names:
            return True
        client = self.connection.client
        message = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
        with contextlib.suppress(LLMError), self.connection.errors("generate"):
            self._adapted(client.chat.completions.create, message)
            return False
        with contextlib.suppress(LLMError), self.connection.errors("embed"):
            self._asked(client.embeddings.create, {"input": ["Hello"], "encoding_format": "float"})
            return False
        raise absent

    def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        self.connection.close()

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Yield ``(index, answer)`` as answers arrive; see `pytest_llm.engines.protocol.Engine`.

        After a failure nothing more is asked; what is under way is still waited for and kept, then the failure raised.
        Where a request is one too many for the service, another time is left to ask it, and fewer are under way.
        """
        calls = collections.deque(enumerate([self._call(request) for request in requests]))
        working = min(self._in_flight, len(requests))
        assert self.connection.client  # an error of the set-up is raised here once, not in every thread
        done: queue.SimpleQueue[tuple[int, Answer] | BaseException | None] = queue.SimpleQueue()
        stop, turn = threading.Event(), threading.Lock()

        def work() -> None:
            nonlocal working
            while not stop.is_set():
                with turn:
                    if not calls:
                        working -= 1
                        break
                    index, call = calls.popleft()
                try:
                    done.put((index, call()))
                except BaseException as error:
                    with turn:
                        if isinstance(error, TooManyError) and working > 1:
                            working -= 1
                            calls.append((index, call))
                            break
                    stop.set()
                    done.put(error)
            done.put(None)

        # Daemons: after Ctrl-C nobody waits for an answer that may take minutes.
        workers = [threading.Thread(target=work, daemon=True) for _ in range(working)]
        for worker in workers:
            worker.start()
        failure, left, patience = None, len(workers), PATIENCE
        try:
            while left:
                try:
                    found = done.get(timeout=patience)
                except queue.Empty:
                    limit = f"waiting up to {self.connection.timeout:g} s (--llm-timeout)"
                    self._tell(f"pytest_llm: {self} has answered nothing for {patience:g} s; {limit}")
                    patience = threading.TIMEOUT_MAX
                    continue
                if isinstance(found, BaseException):
                    failure = failure or found
                elif found is None:
                    left -= 1
                else:
                    yield found
        finally:
            stop.set()
        if failure is not None:
            raise failure

    def _call(self, request: Request) -> Callable[[], Answer]:
        """Return what asks ``request``, which is checked before anything is asked."""
        if getattr(request, "src_lang", None) or getattr(request, "tgt_lang", None):
            raise InvalidInputError(f"{self}: a service takes no src_lang= or tgt_lang=: name languages in the prompt")
        if isinstance(request, Generate):
            return functools.partial(self._generate, request, arguments_of(request, str(self)))
        if isinstance(request, (Loss, Logprobs)):
            if isinstance(request, Loss) and (request.source is not None or request.window or request.stride):
                raise InvalidInputError(f"{self}: loss() of a service takes no sources=, window= or stride=")
            return functools.partial(self._read, request)
        if isinstance(request, Score):
            if not isinstance(request.prompt, str):
                raise InvalidInputError(f"{self}: score() needs a prompt as text: a service scores no chat messages")
            if request.forced_bos_token_id is not None:
                raise InvalidInputError(f"{self}: score() of a service takes no forced_bos_token_id=")
            return functools.partial(self._score, request)
        if isinstance(request, Embed):
            if request.pooling != "mean":  # the default: whatever the service has
                raise InvalidInputError(f"{self}: embed() of a service pools as the service does, not by pooling=")
            return functools.partial(self._embed, request)
        raise InvalidInputError(
            f"{self} cannot answer {request.call!r}: a service answers embed, generate, logprobs, loss, score"
        )

    def _generate(self, request: Generate, arguments: dict[str, Any]) -> Answer:
        if isinstance(request.prompt, str):
            ask, read = self.connection.client.completions.create, answers.completion
            arguments = {**arguments, "prompt": request.prompt, "logprobs": 2}
        else:
            ask, read = self.connection.client.chat.completions.create, answers.chat
            arguments = {**arguments, "messages": list(request.prompt), "logprobs": True, "top_logprobs": 2}
        wanted = request.num_return_sequences
        with self.connection.errors("generate"):
            answer = read(self._adapted(ask, arguments), self.connection.name, request)
            sequences = found = answer["sequences"]
            # Some services know no n and give one answer: the others are asked for one by one, each with its own seed.
            while found and len(sequences) < wanted:
                other = {"n": 1, "seed": request.seed_for("sequence", len(sequences))}
                found = read(self._adapted(ask, {**arguments, **other}), self.connection.name, request)["sequences"]
                sequences.extend(found)
        if len(sequences) != wanted:
            raise ServiceError(f"{self}: it gave {len(sequences)} of {wanted} answers")
        said = answer.get("environment", {})
        said.update({name: self.connection.key.hidden(value) for name, value in said.items()})
        return answer

    def _adapted(self, ask: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Ask in the dialect of this service, which is learnt where a request goes well without what was refused.

        A refusal alone tells nothing: of a request that is wrong otherwise, some services repeat all of it.
        """
        import openai

        limit, refused, why = self._limit, set(self._refused), ""
        while True:
            sent = {n: value for n, value in arguments.items() if n not in refused or value != _IDLE.get(n, value)}
            sent[limit] = sent.pop("max_tokens")
            try:
                found = self._asked(ask, sent)
                break
            except openai.APIError as error:
                if "max_completion_tokens" in str(error) and limit == "max_tokens":  # OpenAI's newer models
                    limit = "max_completion_tokens"
                elif failures.about(error, "logprobs") and "logprobs" in sent:
                    refused |= {"logprobs", "top_logprobs"}
                    why = self.connection.said(error)
                elif idle := {n for n in _IDLE if sent.get(n) == _IDLE[n] and failures.about(error, n)}:
                    refused |= idle
                else:
                    raise
        with self._learning:
            news, self._refused = refused - self._refused, self._refused | refused
            self._limit = limit if limit != "max_tokens" else self._limit
        if "logprobs" in news:
            self._tell(f"pytest_llm: {self} refuses logprobs, so its goldens know no near-ties: {why}")
        return found

    def _read(self, request: Loss | Logprobs) -> Answer:
        top = request.top_k if isinstance(request, Logprobs) else 1
        text = self._echoed(request.kind, request.text, top)
        if isinstance(request, Logprobs):
            return answers.logprobs(text, top)
        answer = answers.loss(text)
        if not answer["tokens"]:
            raise InvalidInputError(f"{self}: {request.text!r} is a single token, which nothing before it predicts")
        return answer

    def _score(self, request: Score) -> Answer:
        prompt, scores = str(request.prompt), []
        for text in request.continuations:
            scores.append(answers.continuation(self._echoed("score", prompt + text, 1), len(prompt)))
            if scores[-1] is None:
                raise InvalidInputError(
                    f"{self}: the continuation {text!r} has no token, or a first one that nothing before it predicts"
                )
        return {"scores": scores}

    def _echoed(self, kind: str, text: str, top: int) -> answers.Echo:
        """Return the tokens of ``text`` with their logprobs: a completion of one token, which says its prompt again."""
        if not text:
            raise InvalidInputError(f"{self}: {kind}() of a service needs a text; this one is empty")
        with self.connection.errors(kind):
            create = self.connection.client.completions.create
            arguments = {"prompt": text, "max_tokens": 1, "temperature": 0.0, "logprobs": max(top, 1), "echo": True}
            response = self._asked(create, arguments)
            echo = answers.echo(response, text)
        if echo is None:
            raise InvalidInputError(
                f"{self} gives no logprobs of a prompt, which {kind}() needs: serve the model with one that does "
                "(vLLM has echo=True with logprobs), or ask it in this process"
            )
        return echo

    def _embed(self, request: Embed) -> Answer:
        with self.connection.errors("embed"):
            create = self.connection.client.embeddings.create
            found = self._asked(create, {"input": [request.text], "encoding_format": "float"})
            return answers.embedding(found, normalize=request.normalize)

    def _asked(self, create: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        return self.connection.ask(functools.partial(create, model=self.connection.name, **arguments))

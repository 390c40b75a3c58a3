"""A process that dies is told with how it died, and none is left."""

import contextlib
import os
import signal

import pytest

from contrabench.training.processes import Child, DiedError


def answer(pipe, word):
    pipe.send(word)
    pipe.recv()


def die(pipe, code, number):
    if number:
        os.kill(os.getpid(), number)
    os._exit(code)


def test_it_answers_and_ends_by_itself_or_by_force():
    for kill in (False, True):
        child = Child(answer, "hello", deaf=())
        assert child.receive() == "hello"
        if not kill:
            child.pipe.send("go")
        child.end(kill)
        assert child.process.exitcode == (-signal.SIGKILL if kill else 0)


def listen(pipe):
    with contextlib.suppress(EOFError):
        while True:
            pipe.recv()


@pytest.mark.parametrize("start", ["spawn", "fork"])
def test_closing_the_pipe_lets_it_go(start):
    child = Child(listen, deaf=(), start=start)
    child.pipe.close()
    child.end(kill=False)
    assert child.process.exitcode == 0


@pytest.mark.parametrize(
    ("code", "number", "told"),
    [
        (3, 0, "died (exit code 3)"),
        (0, signal.SIGKILL, "died (SIGKILL, probably for want of memory)"),
        (0, signal.SIGTERM, "died (SIGTERM)"),
    ],
)
def test_its_death_is_told_in_words(code, number, told):
    child = Child(die, code, number, deaf=())
    with pytest.raises(DiedError) as caught:
        child.receive()
    assert str(caught.value) == told
    child.end(kill=True)


def test_it_is_deaf_to_what_it_is_not_to_see():
    child = Child(die, 4, signal.SIGINT, deaf=(signal.SIGINT,))
    with pytest.raises(DiedError, match="exit code 4"):
        child.receive()
    child.end(kill=True)

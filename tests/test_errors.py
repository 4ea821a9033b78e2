"""Errors as values that cross the border of a process."""

from __future__ import annotations

import msgspec
import pytest

from proctor import errors
from proctor.errors import ConfigError, Interrupted, MissingExtraError, PackedError, PolicyGoneError, ProctorError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ProctorError)]


def sent(packed):
    return msgspec.json.decode(msgspec.json.encode(packed), type=PackedError)


def made(kind):
    """An error of a class, whatever it is made of."""
    arguments = {
        MissingExtraError: ("torch", "lerobot"),
        Interrupted: (15,),
        PolicyGoneError: ("ws://robot:8000", "it fell over"),
    }
    return kind(*arguments.get(kind, ("the arm fell off",)))


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_the_same_in_the_other_process(kind):
    """Its class, its sentence, its hint, its exit status."""
    error = made(kind)
    error.hint = "screw it on"

    raised = sent(error.packed()).unpacked()

    assert type(raised) is kind
    assert (str(raised), raised.hint, raised.exit_code) == (str(error), "screw it on", error.exit_code)


def test_a_class_from_elsewhere_becomes_its_nearest_base_class_here():
    """The other process may not have it."""

    class GripperError(ConfigError):
        exit_code = 7

    packed = GripperError("it does not close").packed()

    assert packed == PackedError("ConfigError", "it does not close", "", 7)
    assert packed.unpacked().exit_code == 7


@pytest.mark.parametrize("name", ["SystemExit", "os:system", "Note", ""])
def test_a_message_cannot_choose_a_class_that_is_no_error_of_ours(name):
    """Nothing is looked up by the name but the table of known classes."""
    assert type(PackedError(name, "x").unpacked()) is ProctorError


def test_a_message_that_cannot_be_encoded_is_escaped():
    """A file's name may hold bytes that are no UTF-8."""
    assert sent(ConfigError("no file \udcff").packed()).message == "no file \\udcff"

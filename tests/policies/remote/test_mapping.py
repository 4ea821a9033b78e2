"""What a server is sent is what the mapping says, and what a mapping may say is checked before anything starts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from proctor.errors import ConfigError, ContractError, PolicyError
from proctor.policies.remote.conversions import axis_angle, bridge_angles
from proctor.policies.remote.mapping import Input, Mapping, choose, read_mapping
from proctor.policies.remote.presets import GROOT, OPENPI
from proctor.types import ArraySpec, Features, Observation


def only(each: Input, **arrays):
    seen = {f"observation.{name}": np.asarray(array)[np.newaxis] for name, array in arrays.items()}
    ((_, value),) = Mapping(inputs=(each,)).items(Observation(seen, "open the drawer"), {})
    return value


def test_parts_of_vectors_are_joined_in_their_order():
    source = "observation.b[1:3] + observation.a + observation.b[:1]"

    sent = only(Input(key="state", source=source, dtype="float32"), a=[7.0], b=[1.0, 2.0, 3.0])

    assert sent.tolist() == [2.0, 3.0, 7.0, 1.0]
    assert sent.dtype == np.float32


def test_a_vector_keeps_its_dtype_if_no_other_is_asked_for():
    assert only(Input(key="state", source="observation.a"), a=np.zeros(2, np.float16)).dtype == np.float16


def test_an_image_is_turned_then_resized_and_its_channels_come_first_where_asked():
    image = np.zeros((4, 4, 3), np.uint8)
    image[0, 0] = 1, 2, 3

    turned = only(Input(key="i", source="observation.image", rotate=True), image=image)
    channels_first = only(Input(key="i", source="observation.image", layout="chw"), image=image)
    resized = only(Input(key="i", source="observation.image", resize=[8, 16]), image=np.full((4, 4, 3), 9, np.uint8))

    assert turned[3, 3].tolist() == [1, 2, 3]
    assert channels_first.shape == (3, 4, 4)
    assert channels_first[:, 0, 0].tolist() == [1, 2, 3]
    assert resized.shape == (8, 16, 3)
    assert not resized[:, :4].any()
    assert (resized[:, 4:12] == 9).all()


def test_an_image_of_real_numbers_becomes_bytes():
    assert only(Input(key="i", source="observation.image"), image=np.full((2, 2, 3), 0.999)).max() == 254


def test_the_sentence_is_sent():
    assert only(Input(key="prompt", source="instruction")) == "open the drawer"


def test_only_the_present_is_sent():
    seen = {"observation.a": np.array([[1.0], [2.0]])}

    ((_, sent),) = Mapping(inputs=(Input(key="s", source="observation.a"),)).items(Observation(seen), {})

    assert sent.tolist() == [2.0]


def test_a_quaternion_becomes_an_axis_times_an_angle_up_to_a_whole_turn():
    half = np.sqrt(0.5)

    assert axis_angle(np.array([half, 0, 0, half])) == pytest.approx([np.pi / 2, 0, 0])
    assert axis_angle(np.array([-half, 0, 0, -half])) == pytest.approx([-3 * np.pi / 2, 0, 0])
    assert axis_angle(np.array([0.0, 0, 0, 1.0])).tolist() == [0, 0, 0]
    assert axis_angle(np.array([0.0, 0, 0, 1.0000001])).tolist() == [0, 0, 0]


def test_actions_are_joined_and_converted():
    mapping = read_mapping(
        {
            "inputs": [{"key": "s", "source": "observation.a"}],
            "actions": ["action.x", {"key": "action.gripper", "convert": "gripper_to_libero"}],
        }
    )
    reply = {"action.x": np.zeros((3, 2)), "gripper": np.array([[0.0], [0.4], [1.0]])}

    assert mapping.action(reply).tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, -1]]


def test_a_reply_of_plain_lists_is_as_good_as_arrays():
    mapping = read_mapping([{"key": "s", "source": "observation.a"}])

    assert mapping.action({"actions": [[1, 2], [3, 4]]}).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ({"acts": np.zeros((1, 2))}, "has no 'actions'; it holds 'acts'"),
        ({}, "it holds nothing"),
        ({"actions": "left"}, "the text 'left'"),
        ({"actions": [[1, 2], [3]]}, "shapes"),
    ],
)
def test_a_reply_without_actions_is_described(reply, message):
    with pytest.raises(PolicyError, match=message):
        read_mapping([{"key": "s", "source": "observation.a"}]).action(reply)


def test_parts_of_different_lengths_are_described():
    mapping = read_mapping({"inputs": [{"key": "s", "source": "observation.a"}], "actions": ["a", "b"]})

    with pytest.raises(PolicyError, match=r"a \(3, 1\), b \(2, 1\)"):
        mapping.action({"a": np.zeros((3, 1)), "b": np.zeros((2, 1))})


# ------------------------------------------------------------------------------------------------------- what is chosen


def features(*names):
    return Features({name: ArraySpec((8,), "float32") for name in names}, ArraySpec((7,), "float32"))


LIBERO = ("observation.images.image", "observation.images.image2", "observation.state")


@pytest.mark.parametrize(
    ("given", "preset"),
    [
        (LIBERO, "libero"),
        (("observation.images.top", "observation.state"), "aloha"),
        (
            (
                "observation.images.exterior_image_1_left",
                "observation.images.wrist_image_left",
                "observation.state",
            ),
            "droid",
        ),
    ],
)
def test_the_preset_that_fits_the_environment_is_chosen(given, preset):
    choice = choose(None, OPENPI, None)

    choice.check_contract(features(*given))

    assert choice.for_observation(dict.fromkeys(given)) == OPENPI[preset]


def test_names_can_be_changed():
    choice = choose("aloha", OPENPI, {"observation.image": "observation.images.top"})

    choice.check_contract(features("observation.image", "observation.state"))


def test_what_the_environment_lacks_is_said_of_every_preset():
    with pytest.raises(ContractError) as raised:
        choose(None, OPENPI, None).check_contract(features("observation.state"))

    assert "libero: the environment lacks observation.images.image, observation.images.image2" in str(raised.value)
    assert "It gives observation.state." in str(raised.value)
    assert "--policy.inputs" in str(raised.value)


def test_a_mapping_may_be_a_file(tmp_path):
    """Of YAML or JSON; what identifies it is what it says."""
    inputs = [{"key": ["images", "front"], "source": "observation.image"}]
    (tmp_path / "a.json").write_text(json.dumps(inputs))
    (tmp_path / "b.yaml").write_text("inputs:\n  - {key: [images, front], source: observation.image}\n")
    (tmp_path / "c.yaml").write_text("inputs:\n  - {key: [images, back], source: observation.image}\n")

    a, b, c = (choose(str(tmp_path / name), OPENPI, None).fingerprint() for name in ("a.json", "b.yaml", "c.yaml"))

    assert [*a.values()] == [*b.values()] != [*c.values()]


def test_the_presets_differ_in_their_fingerprints():
    digests = {mapping.sha256 for mapping in (*OPENPI.values(), *GROOT.values())}

    assert len(digests) == len(OPENPI) + len(GROOT)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("liberro", "Did you mean 'libero'"),
        ([], "is a list of inputs"),
        ({"input": []}, "is a list of inputs"),
        ({"inputs": [{"key": "a", "source": "b"}], "action": []}, "Did you mean 'actions'"),
        ([{"key": "a", "sauce": "b"}], "Did you mean 'source'"),
        ([{"key": "a"}], "source"),
        (["a"], "each entry is a map"),
        ([{"key": "a", "source": "b", "layout": "whc"}], "hwc or chw"),
        ([{"key": "a", "source": "b", "resize": [224]}], "height, width"),
        ([{"key": "a", "source": "b", "resize": [0, 5]}], "height, width"),
        ([{"key": "a", "source": "b", "dtype": "object"}], "float32"),
        ([{"key": "a", "source": "exec(b)"}], "unknown conversion"),
        ([{"key": "a", "source": "b[1"}], r"name\[start:stop\]"),
        ([{"key": "", "source": "b"}], "without a key"),
        ({"inputs": [{"key": "a", "source": "b"}], "actions": []}, "actions is a list"),
        ({"inputs": [{"key": "a", "source": "b"}], "n_action_steps": 0}, "at least 1"),
        ({"inputs": [{"key": "a", "source": "b"}], "actions": [{"key": "x", "convert": "sing"}]}, "conversion"),
    ],
)
def test_what_a_mapping_may_not_say_is_refused_in_a_sentence(inputs, message):
    with pytest.raises(ConfigError, match=message):
        choose(inputs, OPENPI, None)


@pytest.mark.parametrize("content", ["{", "a: &x 1\nb: *x", "\xff"])
def test_a_file_that_is_no_mapping_is_refused_in_a_sentence(tmp_path, content):
    (tmp_path / "inputs.yaml").write_bytes(content.encode("latin-1"))

    with pytest.raises(ConfigError, match=r"inputs\.yaml"):
        choose(str(tmp_path / "inputs.yaml"), OPENPI, None)


@pytest.mark.parametrize("seed", range(20))
def test_bridge_angles_are_those_of_another_librarys_rotations(seed):
    """Also if the pitch is a right angle, where two of them mean the same."""
    tq = pytest.importorskip("transforms3d.quaternions", reason="transforms3d comes with the extra maniskill")
    te = pytest.importorskip("transforms3d.euler", reason="transforms3d comes with the extra maniskill")
    quaternion = np.random.default_rng(seed).normal(size=4) if seed else np.array([1.0, 0.0, 0.0, 0.0])
    quaternion /= np.linalg.norm(quaternion)
    down = np.array([[0, 0, 1.0], [0, 1.0, 0], [-1.0, 0, 0]])

    assert bridge_angles(quaternion) == pytest.approx(te.mat2euler(tq.quat2mat(quaternion) @ down.T), abs=1e-9)


def test_the_request_of_a_widowx_is_groots():
    """Every number has a key of its own; the image is stretched as OpenCV does it."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    state = np.array([0.1, 0.2, 0.3, 0.0, 1.0, 0.0, 0.0, 0.7], np.float32)
    seen = Observation(
        {"observation.images.image_0": image[np.newaxis], "observation.state": state[np.newaxis]}, "put it there"
    )

    sent = {each.path[0]: value for each, value in GROOT["widowx"].items(seen, {})}

    assert np.array_equal(sent["video.image_0"], cv2.resize(image, (256, 256)))
    numbers = {name.removeprefix("state."): value for name, value in sent.items() if name.startswith("state.")}
    assert list(numbers) == ["x", "y", "z", "roll", "pitch", "yaw", "pad", "gripper"]
    assert [float(numbers[name][0]) for name in ("x", "y", "z", "pad", "gripper")] == pytest.approx(
        [0.1, 0.2, 0.3, 0.0, 0.7]
    )
    assert {value.dtype for value in numbers.values()} == {np.dtype(np.float32)}
    assert sent["annotation.human.action.task_description"] == "put it there"


def test_the_gripper_of_a_widowx_is_open_above_a_half():
    """SimplerEnv's is 1 if open and -1 if closed."""
    reply = {f"action.{name}": np.zeros((3, 1)) for name in ("x", "y", "z", "roll", "pitch", "yaw")}

    found = GROOT["widowx"].action({**reply, "action.gripper": np.array([[0.2], [0.5], [0.9]])})

    assert found.shape == (3, 7)
    assert found[:, 6].tolist() == [-1.0, -1.0, 1.0]


def test_a_slice_within_parentheses_is_of_what_is_converted():
    """And one behind them is of the result."""
    state = [9.0, 1.0, 0.0, 0.0, 0.0, 9.0]

    sent = only(Input(key="state", source="axis_angle(observation.state[1:5])[0:1]"), state=state)

    assert sent.tolist() == [np.pi]

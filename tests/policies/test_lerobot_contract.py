"""Whether policy and environment fit."""

import pytest
from lerobot_samples import edit_json

from proctor.errors import ContractError, Note
from proctor.policies.lerobot import load
from proctor.types import ArraySpec, Features

pytest.importorskip("lerobot")


def features(size=96, state=2, action=2, camera="observation.image"):
    return Features(
        observation={
            camera: ArraySpec((size, size, 3), "uint8"),
            "observation.state": ArraySpec((state,), "float64"),
            "observation.extra": ArraySpec((7,), "float64"),
        },
        action=ArraySpec((action,), "float32"),
    )


def refusal(bare, features, rename_map=None):
    with pytest.raises(ContractError) as raised:
        load({"path": str(bare)}, rename_map).check_contract(features)
    return str(raised.value)


def test_what_fits_passes_and_what_nobody_asked_for_is_no_matter(bare):
    load({"path": str(bare)}).check_contract(features())


def test_both_sides_are_shown(bare):
    message = refusal(bare, features(size=384, state=4, action=3))

    assert message.splitlines() == [
        "Policy and environment do not fit each other:",
        "                     policy              environment",
        "  observation.image  image 96x96x3       image 384x384x3   <- differs",
        "  observation.state  vector 2            vector 4   <- differs",
        "  action             vector 2            vector 3   <- differs",
        "If the policy takes images of any size (LeRobot does not compare them), say so: --policy.any_image_size=true",
    ]


def test_an_image_size_does_not_matter_to_a_policy_that_resizes(bare):
    """In its preprocessor, or inside the model."""
    edit_json(bare / "policy_preprocessor.json", steps=[{"registry_name": "image_crop_resize_processor"}])
    load({"path": str(bare)}).check_contract(features(size=384))

    edit_json(bare / "policy_preprocessor.json", steps=[])
    edit_json(bare / "config.json", type="diffusion", horizon=16, n_obs_steps=2, resize_shape=[84, 84])
    load({"path": str(bare)}).check_contract(features(size=384))


def test_a_camera_of_another_name_is_found_by_renaming(bare):
    """The message says how; the renaming then makes it fit."""
    other = features(camera="observation.images.top")
    message = refusal(bare, other)

    assert "observation.image  image 96x96x3       nothing   <- differs" in message
    assert """--rename_map='{"observation.images.top": "observation.image"}'""" in message
    load({"path": str(bare)}, {"observation.images.top": "observation.image"}).check_contract(other)


def with_cameras(bare, *names, **changes):
    image, vector = {"type": "VISUAL", "shape": [3, 96, 96]}, {"type": "STATE", "shape": [2]}
    inputs = {**dict.fromkeys(names, image), "observation.state": vector}
    edit_json(bare / "config.json", type="smolvla", input_features=inputs, **changes)


def test_two_observations_of_one_name_are_refused(bare):
    """Also if the environment gives one of them under that name: which of the two the policy saw would be chance."""
    names = {"observation.images.top": "observation.image"}
    both = Features(
        {**features().observation, "observation.images.top": ArraySpec((96, 96, 3), "uint8")}, features().action
    )

    assert "observation.image and observation.images.top of the environment are both" in refusal(bare, both, names)
    load({"path": str(bare)}, names | {"observation.image": "unused"}).check_contract(both)


def test_a_renaming_of_what_is_not_there_is_told(bare):
    """A slip would leave a camera empty, or as it was."""
    with pytest.warns(Note, match=r"names observation\.images\.tpo, which the environment does not give; it gives obs"):
        load({"path": str(bare)}, {"observation.images.tpo": "observation.image"}).check_contract(features())


def test_as_many_cameras_may_be_missing_as_the_policy_leaves_empty(bare):
    """By its own configuration, or by ``--policy.empty_cameras``."""
    cameras = "observation.image", "observation.images.wrist", "observation.images.empty_camera_0"
    with_cameras(bare, *cameras, empty_cameras=1)

    message = refusal(bare, features())
    assert "observation.images.wrist  image 96x96x3       nothing   <- differs" in message
    assert "empty_camera_0" not in message
    load({"path": str(bare), "empty_cameras": "2"}).check_contract(features())


def test_a_policy_is_not_blindfolded(bare):
    """At least one of its cameras must be there."""
    with_cameras(bare, "observation.images.wrist", empty_cameras=1)

    assert "observation.images.wrist  image 96x96x3       nothing   <- differs" in refusal(bare, features())


def test_a_vector_is_not_an_image(bare):
    """Also where nothing of the kind is to be had."""
    assert "--rename_map" not in refusal(bare, Features({}, ArraySpec((2,), "float32")))


def test_the_option_that_leaves_missing_cameras_empty_is_named(bare):
    """By the number it takes, not where all of them are missing."""
    cameras = "observation.images.empty_camera_0", "observation.image", "observation.images.camera3"
    with_cameras(bare, *cameras, empty_cameras=1)
    message = refusal(bare, features())

    assert "observation.images.camera3  image 96x96x3       nothing   <- differs" in message
    assert "empty_camera_0" not in message, "whatever its place"
    assert message.endswith("trained to leave such cameras empty, say how many: --policy.empty_cameras=2")
    load({"path": str(bare), "empty_cameras": "2"}).check_contract(features())
    assert "--policy.empty_cameras" not in refusal(bare, features(camera="observation.images.top"))

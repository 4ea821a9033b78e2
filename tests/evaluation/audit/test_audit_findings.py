"""What the audit finds: nothing if all is wired as in training, and each wrong wiring by the evidence that shows it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from audit_samples import ACTION, IMAGE, STATE, dataset, episodes, training

from proctor.evaluation.audit.examine import examine
from proctor.policies.lerobot.training_statistics import IMAGENET
from proctor.results.audit import Severity, TrainedFeature, Training, worth_a_line


def checks(audit, *severities):
    severities = severities or (Severity.SEVERE, Severity.WARNING)
    return {finding.check for finding in audit.findings if finding.severity in severities}


@pytest.mark.parametrize(
    ("known", "data"), [(training(), None), (None, dataset()), (training(), dataset()), (None, None)]
)
def test_nothing_is_found_where_all_is_wired_as_in_training(known, data):
    assert examine(episodes(), known, data).findings == []


def scaled(*factors):
    return lambda values: values * np.array(factors)


def permuted(*order):
    return lambda values: values[list(order)]


STATES = {
    "swapped": permuted(1, 0, 2, 3),
    "scaled": scaled(*[180 / np.pi] * 4),
    "far": lambda values: values + np.array([0, 5.0, 0, 0]),
    "constant": scaled(1, 1, 1, 0),
    "not finite": scaled(1, np.nan, 1, 1),
}


@pytest.mark.parametrize("check", STATES)
def test_a_state_that_is_wired_wrongly_is_found_by_the_checkpoints_statistics(check):
    audit = examine(episodes(state=STATES[check]), training())

    assert check in checks(audit)


def test_the_sentence_names_the_element_and_the_distance():
    (finding,) = examine(episodes(state=STATES["far"]), training()).findings

    assert (finding.check, finding.feature, finding.index, finding.severity) == ("far", STATE, 1, Severity.SEVERE)
    assert "observation.state[1] is " in finding.sentence
    assert "σ from training at the first step of every episode" in finding.sentence


def test_an_element_that_never_changed_in_training_must_not_change_here():
    still = {"mean": [0.0, 0.6, 0.2, 0.5], "std": [0.05, 0.1, 0.05, 0.0]}
    known = training(**{STATE: TrainedFeature("STATE", (4,), still)})

    found = examine(episodes(), known).findings

    assert [(finding.check, finding.index) for finding in found] == [("far", 3)]
    assert "never changed in training" in found[0].sentence


IMAGES = {
    "flipped left to right": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "cut where the dataset's are not (to 80%)": lambda image: image[5:43, 6:58],
    "turned by 180°": lambda image: image[::-1, ::-1],
    "in another order of colours (red and blue exchanged)": lambda image: image[..., ::-1],
}


@pytest.mark.parametrize("what", IMAGES)
def test_an_image_that_is_wired_wrongly_is_found_by_the_dataset_which_says_how(what):
    audit = examine(episodes(image=IMAGES[what]), None, dataset())

    finding, *others = audit.findings
    assert {other.check for other in others} <= {"size"}
    assert (finding.check, finding.evidence["looks"], finding.source) == ("image changed", what, "dataset")
    assert f"are {what}" in finding.sentence


@pytest.mark.parametrize("what", ["flipped left to right", "upside down"])
def test_a_flip_changes_no_statistic_so_a_checkpoint_alone_cannot_show_it(what):
    assert not checks(examine(episodes(image=IMAGES[what]), training()))


def test_exchanged_colours_are_found_by_a_checkpoints_own_statistics_but_not_by_imagenets():
    bgr = episodes(image=lambda image: image[..., ::-1])
    usual = {name: list(values) for name, values in IMAGENET.items()}
    replaced = training(**{IMAGE: TrainedFeature("VISUAL", (3, 48, 64), usual, "the checkpoint holds ImageNet's")})

    assert checks(examine(bgr, training())) == {"channels reversed"}
    audit = examine(bgr, replaced)
    assert not checks(audit)
    assert any("ImageNet" in remark for remark in audit.remarks)


def test_an_image_of_another_size_than_the_datasets_is_worth_a_note():
    audit = examine(episodes(image=lambda image: np.repeat(np.repeat(image, 2, 0), 2, 1)), None, dataset())

    assert checks(audit) == set()
    assert [finding.sentence for finding in audit.findings] == [
        "observation.image has 96x128 pixels (height, width), and 48x64 in the dataset."
    ]


def test_a_black_image_and_one_that_was_scaled_twice_need_no_training():
    assert "blank" in checks(examine(episodes(image=np.zeros_like), None))
    assert "dark" in checks(examine(episodes(image=lambda image: (image / 255).round().astype(np.uint8)), None))


def test_the_images_of_another_camera_of_the_dataset_are_recognised():
    data = dataset()
    turned = [np.rot90(image, 1) for image in data.images[IMAGE]]
    data.images["observation.images.wrist"] = turned

    finding, size = examine(episodes(image=np.rot90), None, data).findings

    assert (finding.check, size.check) == ("other camera", "size")
    assert "observation.images.wrist" in finding.sentence


def test_a_gripper_that_never_changes_its_sign_is_found_if_it_did_in_training():
    def closed(actions):
        return np.column_stack([actions[:, :3], np.abs(actions[:, 3])])

    audit = examine(episodes(given=closed), training())

    assert checks(audit) == {"gripper"}
    assert "never negative" in audit.findings[0].sentence


def test_a_gripper_that_keeps_still_in_episodes_of_the_dataset_is_only_worth_a_note():
    def closed(actions):
        return np.column_stack([actions[:, :3], np.abs(actions[:, 3])])

    data = dataset()
    for episode in data.episodes[:6]:
        episode.actions[:, 3] = 1.0

    audit = examine(episodes(given=closed), training(), data)

    assert "gripper" in checks(audit, Severity.NOTE)
    assert "gripper" not in checks(audit)


def test_actions_outside_of_the_bounds_are_counted_by_element():
    (finding,) = examine(episodes(given=scaled(1, 1, 40, 1)), None).findings

    assert (finding.check, finding.index) == ("outside of bounds", 2)


@pytest.mark.parametrize(
    ("given", "check"),
    [
        (scaled(1, 1, 1, -1), "effect reversed"),
        (scaled(-1, 1, 1, 1), "effect reversed"),
        (scaled(30, 1, 1, 1), "effect scaled"),
    ],
)
def test_an_action_with_another_effect_than_in_the_dataset_is_found(given, check):
    """The policy gave something else than the environment executed."""
    assert check in checks(examine(episodes(20, given=given), None, dataset(30)), Severity.SEVERE)


def test_an_instruction_that_the_dataset_does_not_have_is_found_if_the_policy_reads_any():
    other = episodes(text="fold the towel")

    assert checks(examine(other, training(), dataset())) == {"instruction"}
    assert not checks(examine(other, msgspec.structs.replace(training(), reads_text=False), dataset()))
    spelt = examine(episodes(text="Push_the button!"), training(), dataset())
    assert checks(spelt) == set()
    assert checks(spelt, Severity.NOTE) == {"instruction"}


def test_a_chunk_that_is_executed_much_longer_than_was_saved_is_found():
    assert checks(examine(episodes(apart=2 * 5), training())) == {"chunk"}


def test_the_statistics_of_another_dataset_are_found_by_the_dataset():
    other = {"mean": [0.0, 0.9, 0.2, 0.5], "std": [0.05, 0.1, 0.05, 0.3]}
    audit = examine(episodes(), training(**{STATE: TrainedFeature("STATE", (4,), other)}), dataset())

    assert checks(audit, Severity.SEVERE) == {"other statistics"}
    assert audit.findings[0].index == 1


def test_a_feature_that_a_step_changes_before_it_is_normalised_is_not_compared():
    far = episodes(state=STATES["far"])
    feature = TrainedFeature("STATE", (4,), training().features[STATE].statistics, "a step changes it")

    audit = examine(far, training(**{STATE: feature}))

    assert not checks(audit)
    assert any("a step changes it" in remark for remark in audit.remarks)


def test_names_are_those_of_the_policy():
    renamed = msgspec.structs.replace(training(), rename_map={STATE: "observation.proprio"})

    audit = examine(episodes(), renamed)

    assert {histogram.feature for histogram in audit.histograms} == {"observation.proprio", ACTION}


def test_weak_evidence_is_worth_a_line_only_if_the_policy_does_not_work():
    weak = examine(episodes(apart=10), training())
    strong = examine(episodes(state=STATES["far"]), training())

    assert [bool(worth_a_line(weak, rate)) for rate in (0.0, 0.9, None)] == [True, False, True]
    assert worth_a_line(strong, 0.9)


def test_an_audit_without_episodes_or_training_says_so():
    assert "nothing to compare" in examine([], training()).remarks[0]
    assert "Nothing is known" in examine(episodes(1), None).remarks[0]
    assert examine(episodes(1), Training({}), None).findings == []

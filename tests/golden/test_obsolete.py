"""Goldens that no test uses: which they are, and that nothing else is ever deleted."""

import numpy as np
import pytest

from pytest_llm.errors import GoldenError
from pytest_llm.golden.file import FOLDER, golden_path
from pytest_llm.golden.listing import read_list, write_list
from pytest_llm.golden.obsolete import Obsolete, find_obsolete, remove
from pytest_llm.golden.pending import digest
from pytest_llm.golden.snapshot import Snapshot

#: A test that used its goldens.
TEST = "tests/test_x.py::test_a"


def collected(project, test=TEST):
    return {test: str(project.location().file)}


def commit(project, qualname, value="text", module="tests/test_x.py"):
    location = project.location(qualname, module)
    location.file.parent.mkdir(parents=True, exist_ok=True)
    location.file.touch()
    assert value == Snapshot(location, project.settings(update="new"))
    return golden_path(location, "1")


def test_what_a_complete_run_did_not_use_is_obsolete(project):
    used, gone = commit(project, "test_a"), commit(project, "test_gone", np.zeros(100))
    found = find_obsolete({str(used): "n"}, collected(project), [TEST])
    assert [(one.path, one.reason) for one in found] == [
        (gone, "no test uses it"),
        (gone.with_suffix(".npy"), "no test uses it"),
    ]
    assert found[0].nodeid == "tests/test_x.py::test_gone"


def test_goldens_of_tests_that_did_not_pass_are_kept(project):
    commit(project, "TestX.test_a[p-1]")
    for unfinished in ("tests/test_x.py::TestX::test_a[p-1]", "tests/test_x.py::TestX::test_a[NOTSET]"):
        assert find_obsolete({}, collected(project, unfinished), []) == []
        assert len(find_obsolete({}, collected(project, unfinished), [unfinished])) == 1
    assert len(find_obsolete({}, collected(project, "tests/test_x.py::TestX::test_b[p-1]"), [])) == 1


def test_a_module_that_is_gone_leaves_its_goldens_obsolete_and_one_not_collected_does_not(project):
    used, other = commit(project, "test_a"), commit(project, "test_a", module="tests/test_y.py")
    assert find_obsolete({str(used): "n"}, collected(project), [TEST]) == []
    (project.root / "tests/test_y.py").unlink()
    found = find_obsolete({str(used): "n"}, collected(project), [TEST])
    assert [(one.path, one.reason) for one in found] == [(other, "its test module is gone")]


def test_an_array_without_its_golden_is_obsolete_and_an_unreadable_golden_is_kept(project):
    used = commit(project, "test_a")
    orphan = used.parent / "test_b--1.npy"
    orphan.write_bytes(b"x")
    (used.parent / "test_c--1.json").write_text("<<<<<<< HEAD\n")
    (used.parent / "notes.txt").write_text("mine")
    found = find_obsolete({str(used): "n"}, collected(project), [TEST])
    assert [(one.path, one.reason) for one in found] == [(orphan, "it belongs to no golden")]


def test_the_list_survives_until_prune_and_deletes_what_it_names(project):
    commit(project, "test_gone", np.zeros(100))
    module = project.location().file
    found = find_obsolete({}, collected(project), [TEST])
    assert read_list(project.cache, project.root, "goldens", Obsolete) is None
    write_list(project.cache, project.root, "goldens", found)
    listed = read_list(project.cache, project.root, "goldens", Obsolete)
    assert listed == found
    assert remove(listed) == ([one.path for one in found], [])
    assert not (module.parent / FOLDER).exists()
    assert module.exists()
    assert remove(listed) == ([], [])
    write_list(project.cache, project.root, "goldens", [])
    assert read_list(project.cache, project.root, "goldens", Obsolete) == []


def test_a_golden_that_changed_since_is_kept(project):
    path = commit(project, "test_gone")
    found = find_obsolete({}, collected(project), [TEST])
    path.write_text("edited")
    gone, kept = remove(found)
    assert gone == []
    assert kept[0][0] == path
    assert "changed since it was found obsolete" in kept[0][1]
    assert path.read_text() == "edited"


def test_an_array_whose_golden_changed_or_came_back_is_kept(project):
    path = commit(project, "test_gone", np.zeros(100))
    array, text = path.with_suffix(".npy"), path.read_text()
    found = find_obsolete({}, collected(project), [TEST])
    path.unlink()
    orphan = find_obsolete({}, collected(project), [TEST])
    path.write_text(text + " ")
    for listed in (found, orphan):
        gone, kept = remove(listed)
        assert gone == []
        assert kept[-1][0] == array
        assert "is the array of a golden that is there" in kept[-1][1]


@pytest.mark.parametrize(
    "place", ["victim.json", f"{FOLDER}/../victim.json", f"{FOLDER}/link/victim.json", f"{FOLDER}/x/victim.txt"]
)
def test_nothing_outside_a_golden_folder_is_deleted(tmp_path, place):
    (tmp_path / FOLDER / "x").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / FOLDER / "link").symlink_to(tmp_path / "elsewhere")
    victim = tmp_path / place
    victim.write_text("precious")
    with pytest.raises(GoldenError, match="left alone"):
        Obsolete(victim, "", "", digest(victim)).delete()
    assert victim.read_text() == "precious"


def test_a_damaged_list_says_so(project):
    write_list(project.cache, project.root, "goldens", [])
    (file,) = (project.cache / "obsolete").iterdir()
    file.write_text('[{"path": ')
    with pytest.raises(GoldenError, match="run the whole suite again"):
        read_list(project.cache, project.root, "goldens", Obsolete)


def test_a_list_of_an_old_version_is_none(project):
    write_list(project.cache, project.root, "goldens", [])
    (file,) = (project.cache / "obsolete").iterdir()
    file.write_text('[{"path": "/x.json", "nodeid": "", "reason": "", "sha256": ""}]')
    assert read_list(project.cache, project.root, "goldens", Obsolete) is None


def test_the_next_complete_run_replaces_a_damaged_list(project):
    write_list(project.cache, project.root, "goldens", [])
    (file,) = (project.cache / "obsolete").iterdir()
    file.write_bytes(b"\xff\xfe")
    write_list(project.cache, project.root, "goldens", [])
    assert read_list(project.cache, project.root, "goldens", Obsolete) == []

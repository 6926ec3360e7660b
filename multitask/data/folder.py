"""folder: a user's own data, one folder per task and a list of ids per split."""

from collections.abc import Mapping
from pathlib import Path

from experiment.config import DataSettings
from experiment.documents import read_json
from experiment.errors import InputError
from multitask.data.derived import Label
from multitask.data.files import FileDataset, read_list
from multitask.data.label_files import READERS, read_own
from multitask.tasks import Task, reads_files

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")


class Folder(FileDataset):
    """ROOT/images/ID.jpg (or .png)      ROOT/splits/{train,val,test}.txt, one ID a line, or ID, tab, GROUP
    ROOT/images/TASK/ID.png (or .jpg) optional: what this task sees in place of images/ID.jpg
    ROOT/semseg/ID.png                8-bit; 0 ignored, 1..K the classes
    ROOT/depth/ID.png                 16-bit millimetres; 0 invalid
    ROOT/normals/ID.png               8-bit RGB, n = (v - 127) / 127; x right, y up, z towards the camera; 0,0,0 invalid
    ROOT/edge/ID.png, saliency/ID.png 8-bit, 0 or 255; or a palette of black and white
    ROOT/human_parts/ID.png           8-bit; 0 background, 1..6 parts, 255 ignored
    ROOT/TASK/ID.png                  of a task of your own, what its method read reads
    ROOT/meta.json                    optional: {"semseg": {"classes": [names]}}

    Photos count as their EXIF orientation shows them. Normals far from length 1 (black, middle grey, white) are
    invalid. A group is a set of neighbouring frames, such as those of one video; all lines of a split name one, or none
    does.
    """

    name = "folder"
    tasks_read = tuple(READERS)
    has_test = True

    def __init__(self, data: DataSettings, split: str, tasks: Mapping[str, Task]):
        super().__init__(data, split, tasks)
        self.image_folder = {name: name if (self.root / "images" / name).is_dir() else "" for name in tasks}

    @classmethod
    def hint(cls) -> str:
        return "layout: ROOT/images/ID.jpg, ROOT/TASK/ID.png for each task, ROOT/splits/{train,val,test}.txt"

    @classmethod
    def class_names(cls, data: DataSettings) -> list[str]:
        """Of the semantic classes, as far as meta.json lists them."""
        try:
            return _listed_classes(cls.check_root(data))
        except InputError:
            return []

    @classmethod
    def class_count(cls, data: DataSettings) -> int:
        """As configured, or as meta.json lists them."""
        return data.classes if data.classes is not None else len(_listed_classes(cls.check_root(data)))

    def list_images(self, split: str) -> tuple[list[str], list[str] | None]:
        """The ids of a split, and the group of each where the file names groups."""
        path, expected = self.root / "splits" / f"{split}.txt", "expected one ID a line, or ID, tab, GROUP"
        lines = [[word.strip() for word in line.split("\t")] for line in read_list(path, self.hint(), expected)]
        widest = max(lines, key=len)
        narrowest = min(lines, key=len)
        if len(widest) > 2:
            raise InputError(f"{path}: '{' '.join(widest)}' has {len(widest)} columns, {expected}")
        if len(widest) > len(narrowest):
            found = f"'{' '.join(widest)}' has a group, '{narrowest[0]}' has none"
            raise InputError(f"{path}: {found}: expected all or none")
        return [line[0] for line in lines], [line[1] for line in lines] if len(widest) == 2 else None

    def photo_path(self, name: str, folder: str = "") -> Path:
        for suffix in (*PHOTO_SUFFIXES, *map(str.upper, PHOTO_SUFFIXES)):  # cameras write .JPG
            path = self.root / "images" / folder / f"{name}{suffix}"
            if path.is_file():
                return path
        raise InputError(f"{self.root / 'images' / folder / name}.jpg: no such file (nor .jpeg, .png); {self.hint()}")

    @classmethod
    def reads_own(cls, entry: str) -> bool:
        return reads_files(entry)

    def _existing(self, path: Path) -> Path:
        there = [task for task in self.tasks if (self.root / task).is_dir()]
        if there and not path.parent.is_dir():
            raise InputError(
                f"{path.parent}: no such folder; expected labels there, or data.tasks [{', '.join(there)}]"
            )
        return super()._existing(path)

    def label_paths(self, task: str, name: str) -> list[Path]:
        return [self.root / task / f"{name}{self.tasks[task].label_suffix}"]

    def read_label(self, task: Task, name: str) -> Label:
        (path,) = self.label_paths(task.name, name)
        if type(task).read is Task.read:
            return READERS[task.name](path, task)
        return read_own(path, task)

    def _choices(self) -> list:
        return []


def _listed_classes(root: Path) -> list[str]:
    path = root / "meta.json"
    expected = 'expected {"semseg": {"classes": [names]}} there, or data.classes'
    if not path.is_file():
        raise InputError(f"{path}: no such file; {expected}")
    content = read_json(path)
    semseg = content.get("semseg") if isinstance(content, dict) else None
    names = semseg.get("classes") if isinstance(semseg, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: no list of semseg classes; {expected}")
    return names

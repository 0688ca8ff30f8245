"""Functions that save a state as JSON, as students write them: right ones, and wrong ones with what
the picture must show as lost or done wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent


@dataclass(frozen=True)
class Saver:
    """The source of ``save(path, state)``; ``blamed`` is in a line that the picture shows as lost;
    None: nothing is lost.
    """

    name: str
    source: str
    blamed: str | None = None


def _saver(name: str, source: str, blamed: str | None = None) -> Saver:
    return Saver(name, dedent(source), blamed)


RIGHT = [
    _saver("tmp, flush, fsync, replace, fsync of the folder; import os", """
        import json, os
        def save(path, state):
            temporary = str(path) + ".tmp"
            with open(temporary, "w") as file:
                json.dump(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            folder = os.open(os.path.dirname(path), os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        """),
    _saver("from os import", """
        import json
        from os import O_DIRECTORY, O_RDONLY, close, fsync, replace
        from os import open as open_folder
        def save(path, state):
            temporary = path.with_suffix(".new")
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(json.dumps(state))
                file.flush()
                fsync(file)
            replace(temporary, path)
            folder = open_folder(path.parent, O_RDONLY | O_DIRECTORY)
            try:
                fsync(folder)
            finally:
                close(folder)
        """),
    _saver("import os as o, descriptors only", """
        import json
        import os as o
        def save(path, state):
            data = memoryview(json.dumps(state).encode())
            fd = o.open(f"{path}~", o.O_WRONLY | o.O_CREAT | o.O_TRUNC, 0o600)
            while data:
                data = data[o.write(fd, data):]
            o.fdatasync(fd)
            o.close(fd)
            o.rename(f"{path}~", path)
            fd = o.open(path.parent, o.O_RDONLY)
            o.fsync(fd)
            o.close(fd)
        """),
    _saver("pathlib", """
        import json, os
        def save(path, state):
            temporary = path.parent / "new"
            with temporary.open("wb") as file:
                file.write(json.dumps(state).encode())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            fd = os.open(path.parent, os.O_RDONLY)
            os.fsync(fd)
        """),
    _saver("tempfile and the names of a class", """
        import json, os, tempfile
        class Saver:
            fsync = os.fsync
            flush = staticmethod(os.fsync)
            move = os.replace
            def __init__(self):
                self.sync = os.fsync
            def save(self, path, state):
                with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
                    json.dump(state, file)
                    file.flush()
                    self.flush(file.fileno())
                self.move(file.name, path)
                fd = os.open(path.parent, os.O_RDONLY)
                self.sync(fd)
                os.close(fd)
        save = Saver().save
        """),
    _saver("closures, defaults, partial", """
        import functools, io, json, os
        def make():
            fsync = os.fsync
            def save(path, state, *, replace=os.replace, opened=open):
                with opened(path.with_suffix(".t"), "w") as file:
                    file.write(json.dumps(state))
                    file.flush()
                    fsync(file.fileno())
                replace(path.with_suffix(".t"), path)
                sync_folder(path.parent)
            return save
        open_folder = functools.partial(os.open, flags=os.O_RDONLY)
        TABLE = {"sync": os.fsync}
        def sync_folder(path):
            fd = open_folder(path)
            TABLE["sync"](fd)
            os.close(fd)
        save = make()
        """),
    _saver("unbuffered, raw FileIO, sync", """
        import io, json, os
        def save(path, state):
            raw = io.FileIO(f"{path}.tmp", "w")
            raw.write(json.dumps(state).encode())
            raw.close()
            os.sync()
            os.rename(f"{path}.tmp", path)
            os.sync()
        """),
    _saver("mkstemp, fdopen, dir_fd", """
        import json, os, tempfile
        def save(path, state):
            fd, name = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(fd, "w") as file:
                json.dump(state, file)
                file.flush()
                os.fsync(fd)
            folder = os.open(path.parent, os.O_RDONLY)
            os.replace(os.path.basename(name), path.name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
            os.close(folder)
        """),
    _saver("O_SYNC", """
        import json, os
        def save(path, state):
            fd = os.open(f"{path}.x", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_SYNC)
            os.write(fd, json.dumps(state).encode())
            os.close(fd)
            os.replace(f"{path}.x", path)
            fd = os.open(path.parent, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
        """),
    _saver("async", """
        import asyncio, json, os
        def write(path, state):
            with open(path.with_suffix(".tmp"), "w") as file:
                json.dump(state, file)
                file.flush()
                os.fsync(file.fileno())
        def sync(folder):
            fd = os.open(folder, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
        async def save(path, state):
            await asyncio.to_thread(write, path, state)
            await asyncio.to_thread(os.replace, path.with_suffix(".tmp"), path)
            await asyncio.to_thread(sync, path.parent)
        """),
]  # fmt: skip

FOLDER = """
        def sync_folder(path):
            import os
            fd = os.open(path.parent, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
"""

WRONG = [
    _saver("naive write", """
        import json
        def save(path, state):
            path.write_text(json.dumps(state))
        """, "cut state.json"),
    _saver("naive write, by open", """
        import json
        def save(path, state):
            with open(path, "w") as file:
                json.dump(state, file)
        """, "state.json"),
    _saver("in place with fsync", """
        import json
        from os import fsync
        def save(path, state):
            with open(path, "w") as file:
                json.dump(state, file)
                file.flush()
                fsync(file.fileno())
        """, "state.json"),
    _saver("rename without fsync", """
        import json, os
        def save(path, state):
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(state))
            os.replace(temporary, path)
            sync_folder(path)
        """ + FOLDER, "write"),
    _saver("rename without fsync, from os import", """
        import json
        from os import rename
        def save(path, state):
            with open(f"{path}.tmp", "wb", buffering=0) as file:
                file.write(json.dumps(state).encode())
            rename(f"{path}.tmp", path)
            sync_folder(path)
        """ + FOLDER, "write"),
    _saver("fsync of another file", """
        import json, os
        def save(path, state):
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(state))
            with open(path.with_suffix(".other"), "w") as other:
                os.fsync(other.fileno())
            os.replace(temporary, path)
            sync_folder(path)
        """ + FOLDER, "write"),
    _saver("fsync of the old file", """
        import json, os as o
        def save(path, state):
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(state))
            with open(path, "a") as other:
                o.fsync(other)
            o.replace(temporary, path)
            sync_folder(path)
        """ + FOLDER, "write"),
    _saver("fsync before the write", """
        import json, os
        def save(path, state):
            with open(f"{path}.tmp", "w") as file:
                os.fsync(file.fileno())
                json.dump(state, file)
            os.replace(f"{path}.tmp", path)
            sync_folder(path)
        """ + FOLDER, "write"),
    _saver("fsync without flush", """
        import json
        from os import fsync, replace
        def save(path, state):
            with open(f"{path}.tmp", "w") as file:
                json.dump(state, file)
                fsync(file.fileno())
            replace(f"{path}.tmp", path)
            sync_folder(path)
        """ + FOLDER, "write"),
    _saver("renamed before it is closed and flushed", """
        import json, os
        def save(path, state):
            file = open(f"{path}.tmp", "w")
            json.dump(state, file)
            os.fsync(file.fileno())
            os.replace(f"{path}.tmp", path)
            sync_folder(path)
            file.close()
        """ + FOLDER, "rename"),
    _saver("unlink, then rename", """
        import json, os
        def save(path, state):
            with open(f"{path}.tmp", "w") as file:
                json.dump(state, file)
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                os.unlink(path)
            os.rename(f"{path}.tmp", path)
            sync_folder(path)
        """ + FOLDER, "rename"),
    _saver("pathlib: unlink, then rename", """
        import json, os
        def save(path, state):
            temporary = path.with_name("new")
            with temporary.open("w") as file:
                json.dump(state, file)
                file.flush()
                os.fsync(file.fileno())
            path.unlink(missing_ok=True)
            temporary.rename(path)
            sync_folder(path)
        """ + FOLDER, "rename"),
    _saver("rename without fsync of the folder", """
        import json, os
        def save(path, state):
            with open(f"{path}.tmp", "w") as file:
                json.dump(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(f"{path}.tmp", path)
        """, "rename"),
    _saver("fsync of the folder before the rename", """
        import json, os
        def save(path, state):
            with open(f"{path}.tmp", "w") as file:
                json.dump(state, file)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(path)
            os.replace(f"{path}.tmp", path)
        """ + FOLDER, "rename"),
    _saver("copy over the old one", """
        import json, os, shutil
        def save(path, state):
            with open(f"{path}.tmp", "w") as file:
                json.dump(state, file)
                file.flush()
                os.fsync(file.fileno())
            shutil.copyfile(f"{path}.tmp", path)
            sync_folder(path)
        """ + FOLDER, "state.json"),
    _saver("shutil.move without fsync", """
        import json, shutil
        def save(path, state):
            path.with_suffix(".tmp").write_text(json.dumps(state))
            shutil.move(path.with_suffix(".tmp"), path)
            sync_folder(path)
        """ + FOLDER, "write"),
    _saver("from another folder by shutil.move", """
        import json, os, shutil, tempfile
        def save(path, state):
            with tempfile.NamedTemporaryFile("w", delete=False) as file:
                json.dump(state, file)
                file.flush()
                os.fsync(file.fileno())
            shutil.move(file.name, path)
            sync_folder(path)
        """ + FOLDER, "state.json"),
    _saver("os.write and pwrite in place", """
        import json
        from os import O_CREAT, O_RDWR, fsync, ftruncate, open, pwrite
        def save(path, state):
            data = json.dumps(state).encode()
            fd = open(path, O_RDWR | O_CREAT)
            pwrite(fd, data, 0)
            ftruncate(fd, len(data))
            fsync(fd)
            sync_folder(path)
        """ + FOLDER, "state.json"),
    _saver("hard link instead of a rename", """
        import json, os
        def save(path, state):
            with open(f"{path}.tmp", "w") as file:
                json.dump(state, file)
                file.flush()
                os.fsync(file.fileno())
            path.unlink(missing_ok=True)
            os.link(f"{path}.tmp", path)
            os.remove(f"{path}.tmp")
            sync_folder(path)
        """ + FOLDER, "link"),
]  # fmt: skip

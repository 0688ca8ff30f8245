"""The command ``rekey``."""

from __future__ import annotations

from lesson15.cli.common import AsJson, BatchId, StateDir, app, print_json, state_folder


@app.command()
def rekey(batch_id: BatchId, state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Encrypt a batch anew, under the current key."""
    from lesson15.engine.rekey import rekey as write_anew

    key_id = write_anew(batch_id, state_folder(state_dir))
    if as_json:
        print_json({"batch_id": batch_id, "key_id": key_id})
    else:
        print(f"{batch_id}: encrypted with the key {key_id}")

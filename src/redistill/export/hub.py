"""A folder for the Hugging Face hub, which ``from_pretrained`` of the hub mixin reads back; pushed where a token exists."""

from __future__ import annotations

from pathlib import Path

from redistill.errors import RedistillError
from redistill.export.network import needs


def push(folder: Path, name: str) -> str:
    """Upload a folder of :func:`redistill.export.folder.write_folder` as ``user/model``; returns its address.

    Raises:
        RedistillError: the library is missing, there is no token, or the hub says no.
    """
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise needs("huggingface_hub", "hub") from error
    try:
        if not hub.get_token():
            raise RedistillError(f"there is no token of the hub, so {folder} was not pushed: hf auth login, or set HF_TOKEN")
        hub.create_repo(name, exist_ok=True)
        return str(hub.upload_folder(repo_id=name, folder_path=str(folder), commit_message="A student distilled with redistill"))
    except RedistillError:
        raise
    except Exception as error:  # of the network, of rights, of names
        line = next((one.strip() for one in str(error).splitlines() if one.strip()), type(error).__name__)
        raise RedistillError(f"{folder} was written and could not be pushed to {name} ({line[:200]})") from error

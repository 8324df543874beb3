"""User names and passwords never leave in a text, whatever characters they have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneoff.core.credentials import without_credentials
from tuneoff.core.errors import StudyError
from tuneoff.core.store.open import open_store
from tuneoff.study_file.check import study_of

HOST = "host-of-servers"
SECRET = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=20).map(lambda s: f"<{s}>")
"""A user name or password, marked so that it is no part of a host or of the text around it."""


@given(
    st.sampled_from(("http", "https", "s3", "postgresql+psycopg2")), SECRET, SECRET, st.sampled_from(("", ":5000", "/a/b?c=1"))
)
def test_no_part_of_user_and_password_stays(scheme: str, user: str, password: str, rest: str) -> None:
    shown = without_credentials(f"GET {scheme}://{user}:{password}@{HOST}{rest} failed, and {scheme}://{HOST} did not")
    assert shown == f"GET {scheme}://{HOST}{rest} failed, and {scheme}://{HOST} did not"


@pytest.mark.parametrize("password", ["plain", "p@ss", "p/ss", "p@s/s", "p'ss", 'p"ss', "p?ss#", "//", "://x"])
def test_a_password_with_unusual_characters_is_taken_out(password: str) -> None:
    assert without_credentials(f"http://me:{password}@host/x") == "http://host/x"
    assert without_credentials(f"//me:{password}@host/x") == "//host/x"
    assert without_credentials(f"no match for 'http://me:{password}@host/x'.") == "no match for 'http://host/x'."


@pytest.mark.parametrize("text", ["", "me@example.org", "s3://bucket/prefix", "http://host:5000", "a b://c d@e"])
def test_a_text_without_credentials_is_unchanged(text: str) -> None:
    assert without_credentials(text) == text


@given(SECRET, SECRET)
def test_a_message_on_a_place_for_artifacts_hides_them(user: str, password: str) -> None:
    for scheme in ("s3", "ftp"):
        with pytest.raises(StudyError) as refused:
            open_store(f"{scheme}://{user}:{password}@bucket/prefix")
        assert user not in str(refused.value)
        assert password not in str(refused.value)


@given(SECRET, SECRET, st.sampled_from((("tracking", "uri"), ("artifacts",))))
def test_a_fault_of_a_study_file_hides_them(user: str, password: str, where: tuple[str, ...]) -> None:
    uri = f"http://{user}:{password}@host/x"
    sections = {"name": "a", "datasets": ["mnist"], "methods": ["random"], "budget": {"trials": 3}}
    value = {where[1]: uri} if len(where) > 1 else uri
    with pytest.raises(StudyError) as refused:
        study_of({**sections, where[0]: value})
    assert user not in str(refused.value)
    assert password not in str(refused.value)

"""The README of the deployments: its files are there, its commands are those of this project."""

from __future__ import annotations

import re

from tests.deploy.documents import DEPLOY, OUR_IMAGE, ROOT

README = (DEPLOY / "README.md").read_text()


def test_every_link_to_a_file_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (DEPLOY / link).exists()] == []


def test_every_path_in_a_command_is_there_or_is_a_secret() -> None:
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
    paths = set(re.findall(r"(?:deploy|search_spaces)/[\w./-]+\w", blocks))
    there = {path for path in paths if not path.startswith("deploy/secrets")}
    assert [path for path in there if not (ROOT / path).exists()] == []


def test_each_deployment_is_brought_up_used_looked_at_and_taken_down() -> None:
    sections = re.split(r"^## ", README, flags=re.MULTILINE)
    steps = {
        "One machine": ("up --detach", "dwp-sweep submit", "dwp-sweep status", " down"),
        "Machines of": ("ray up", "dwp-sweep submit", "dwp-sweep status", "ray down"),
        "AWS": ("ray up", "dwp-sweep submit", "ray exec", "ray down"),
        "Kubernetes": ("kubectl apply -k", "dwp-sweep submit", "get rayjobs", "kubectl delete"),
    }
    for title, wanted in steps.items():
        (section,) = [one for one in sections if one.startswith(title)]
        places = [section.find(step) for step in wanted]
        assert -1 not in places and places == sorted(places), (title, places)


def test_the_images_name_has_the_projects_version() -> None:
    assert set(re.findall(r"dwp-sweep:[\d.]+\d", README)) == {OUR_IMAGE}

"""Statements of reasons under Article 17 of the Digital Services Act, one for each action on a merchant or a listing.

The addressee is the merchant, so a statement contains only what a merchant may see, and nothing about how rings and brushing are
detected. An action without a restriction, such as a pending review, has a statement that says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ml.explain import for_audience
from touchstone.core.files import sha256_bytes

RESTRICTIONS: Final = {
    "remove": "Removal of the listing, or of all listings of the merchant",
    "restrict": "Restriction of visibility in search and recommendations",
    "takedown": "Removal of the listing",
    "restriction": "Restriction of visibility in search and recommendations",
    "ban": "Termination of the merchant's account",
}
NO_RESTRICTION: Final = {
    "watch": "None: under observation",
    "review": "None yet: a person will review it",
    "test_buy": "None yet: a test buy is planned",
    "reinstatement": "None: an earlier restriction was lifted",
}
_GROUNDS: Final = {
    "counterfeit": (
        (
            "Use of a trade mark without its owner's consent: Article 9(2) of Regulation (EU) 2017/1001 and Article 10(2) of "
            "Directive (EU) 2015/2436. On the facts below, the products are considered counterfeit."
        ),
        "The terms and conditions, which prohibit the sale of counterfeits. On the facts below, the products are such.",
    ),
    "brushing": (
        (
            "Unfair commercial practice: reviews that are not from genuine buyers, and fictitious transactions; points "
            "23b and 23c of "
            "Annex I to Directive 2005/29/EC."
        ),
        "The terms and conditions, which prohibit orders and reviews that do not come from genuine buyers.",
    ),
}
_NO_FACTS: Final = (
    "None that may be disclosed to the addressee. A complaint (see below) is decided by a person who can see all facts."
)
_REDRESS: Final = (
    (
        "A complaint to the marketplace, free of charge, within six months (Article 20 of Regulation (EU) 2022/2065); a person "
        "decides on it."
    ),
    "Settlement out of court by a certified body (Article 21).",
    "The courts that have jurisdiction.",
)


def statement(action: Mapping[str, Any]) -> dict[str, Any]:
    """Builds the statement of reasons for an action.

    Args:
        action: `entity_kind`, `entity_id`, `violation_type`, `kind` of action, `at` (its day or moment); `score`, `reasons`
            (JSON) and `as_of` if it comes from a list, else the platform's own `reason`; `notice_count`, the number of upheld
            notices; `ships_to`.

    Returns:
        The statement as plain data.
    """
    kind = action["kind"]
    by_list = action.get("score") is not None
    legal, contractual = _GROUNDS[action["violation_type"]]
    facts = [reason["text"] for reason in json.loads(for_audience(action.get("reasons") or "[]", "merchant"))]
    if action.get("reason"):
        facts.append(f"Reason given by the platform: {action['reason']}")
    notice_count = int(action.get("notice_count") or 0)
    return {
        "statement_id": statement_id(action),
        "addressee": {"entity_kind": action["entity_kind"], "entity_id": action["entity_id"]},
        "decision": {
            "action": kind,
            "is_restriction": kind in RESTRICTIONS,
            "restriction": RESTRICTIONS.get(kind) or NO_RESTRICTION.get(kind, "None"),
            "taken_at": str(action["at"]),
            "territorial_scope": f"Wherever it is offered{': ' + action['ships_to'] if action.get('ships_to') else ''}",
            "duration": "Until a further decision. An upheld appeal lifts it immediately.",
        },
        "facts_and_circumstances": {
            "facts": facts or [_NO_FACTS],
            "estimated_risk": f"{action['score']:.0f} of 100, as of {action['as_of']}" if by_list else None,
            "origin": f"{notice_count} upheld notices under Article 16"
            if notice_count
            else "Own-initiative investigation",
        },
        "automated_means": {
            "in_detection": by_list,
            "in_decision": by_list,
            "explanation": (
                "A statistical model scored it from the marketplace's records, and the policy assigned this action to its "
                "score."
                if by_list
                else "The platform's record of the action mentions no automated means."
            ),
        },
        "legal_ground": legal,
        "contractual_ground": contractual,
        "redress": list(_REDRESS),
    }


def statement_id(action: Mapping[str, Any]) -> str:
    """Returns the id of an action's statement: a digest, so that it is a safe file name whatever the entity id."""
    identity = [action["entity_kind"], action["entity_id"], action["violation_type"], action["kind"], str(action["at"])]
    return "statement-" + sha256_bytes(json.dumps(identity).encode())[:16]


def statement_text(content: Mapping[str, Any]) -> str:
    """Renders a statement, whose values were made visible before (`core.text.visible_values`), as the text of a letter."""
    decision, facts, means = content["decision"], content["facts_and_circumstances"], content["automated_means"]
    automated = {name: "yes" if means[name] else "no" for name in ("in_detection", "in_decision")}
    lines = [
        f"Statement of reasons {content['statement_id']}",
        "(Article 17 of Regulation (EU) 2022/2065, the Digital Services Act)",
        "",
        f"About the {content['addressee']['entity_kind']} {content['addressee']['entity_id']}",
        "",
        f"1. Decision: {decision['action']}, of {decision['taken_at']}",
        f"   Restriction: {decision['restriction']}.",
        f"   Territorial scope: {decision['territorial_scope']}.",
        f"   Duration: {decision['duration']}",
        "2. Facts and circumstances",
        *[f"   - {fact}" for fact in facts["facts"]],
        *([f"   Estimated risk: {facts['estimated_risk']}."] if facts["estimated_risk"] else []),
        f"   Origin: {facts['origin']}.",
        f"3. Automated means: in detection {automated['in_detection']}, in the decision {automated['in_decision']}.",
        f"   {means['explanation']}",
        f"4. Legal ground: {content['legal_ground']}",
        f"5. Contractual ground: {content['contractual_ground']}",
        "6. Means of redress",
        *[f"   - {way}" for way in content["redress"]],
    ]
    return "\n".join(lines) + "\n"

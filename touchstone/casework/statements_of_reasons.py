"""Statements of reasons: for each action on a merchant or a listing, what Article 17 of the Digital Services Act asks to be said.

They are written to whoever the action falls on, so they hold what that reader may know, and nothing of how rings and brushing are
found. An action that restricts nothing (a row that waits for a review) has one too, which says so: it is at hand when it does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ml.explain import for_audience
from touchstone.core.files import sha256_bytes

RESTRICTIONS: Final = {
    "remove": "Removal of the listing, respectively of all listings of the merchant",
    "restrict": "Restriction of visibility in search and recommendations",
    "takedown": "Removal of the listing",
    "restriction": "Restriction of visibility in search and recommendations",
    "ban": "Termination of the merchant's account",
}
NO_RESTRICTION: Final = {
    "watch": "None: it is watched",
    "review": "None yet: a person will look at it",
    "test_buy": "None yet: it is to be bought and examined",
    "reinstatement": "None: a restriction from before was lifted",
}
_GROUNDS: Final = {
    "counterfeit": (
        (
            "Use of a trade mark without its owner's consent: Article 9(2) of Regulation (EU) 2017/1001 and Article 10(2) of "
            "Directive (EU) 2015/2436. By the facts given here the goods are taken for counterfeits."
        ),
        "The terms and conditions, as they prohibit the offer of counterfeits. By the facts given here the goods are such.",
    ),
    "brushing": (
        (
            "Unfair commercial practice: reviews that are not of buyers, and feigned trades; points 23b and 23c of "
            "Annex I to Directive 2005/29/EC."
        ),
        "The terms and conditions, as they prohibit orders and reviews that no buyer gave of his own accord.",
    ),
}
_REDRESS: Final = (
    (
        "A complaint to the marketplace, free of charge, within six months (Article 20 of Regulation (EU) 2022/2065); a person "
        "decides on it."
    ),
    "Settlement out of court by a certified body (Article 21).",
    "The courts that have jurisdiction.",
)


def statement(action: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the statement of reasons for an action.

    Args:
        action: `entity_kind`, `entity_id`, `violation_type`, `kind` of action, `at` (its day or moment); `score`, `reasons`
            (JSON) and `as_of` where it comes from a list, else the platform's own `reason`; `notice_count`,
            upheld notices; `ships_to`.
    """
    kind = action["kind"]
    by_list = action.get("score") is not None
    legal, contractual = _GROUNDS[action["violation_type"]]
    facts = [reason["text"] for reason in json.loads(for_audience(action.get("reasons") or "[]", "merchant"))]
    if action.get("reason"):
        facts.append(f"The platform's own words: {action['reason']}")
    noticed = int(action.get("notice_count") or 0)
    return {
        "statement_id": statement_id(action),
        "addressee": {"entity_kind": action["entity_kind"], "entity_id": action["entity_id"]},
        "decision": {
            "action": kind,
            "is_restriction": kind in RESTRICTIONS,
            "restriction": RESTRICTIONS.get(kind) or NO_RESTRICTION.get(kind, "None"),
            "taken_at": str(action["at"]),
            "territorial_scope": f"Wherever it is offered{': ' + action['ships_to'] if action.get('ships_to') else ''}",
            "duration": "Until something else is decided. An appeal that is upheld lifts it at once.",
        },
        "facts_and_circumstances": {
            "facts": facts
            or ["None that this reader may be told; the complaint below leads to a person who has them all."],
            "estimated_risk": f"{action['score']:.0f} of 100, as of {action['as_of']}" if by_list else None,
            "origin": f"{noticed} notices under Article 16 that were upheld"
            if noticed
            else "Own-initiative investigation",
        },
        "automated_means": {
            "in_detection": by_list,
            "in_decision": by_list,
            "explanation": (
                "A statistical model rated it from the marketplace's records, and a published policy gave it this action "
                "at its score."
                if by_list
                else "The platform's own record of the action does not say that any were used."
            ),
        },
        "legal_ground": legal,
        "contractual_ground": contractual,
        "redress": list(_REDRESS),
    }


def statement_id(action: Mapping[str, Any]) -> str:
    """Returns a name for an action's statement that is safe as that of a file, whatever the entity is called."""
    named = [action["entity_kind"], action["entity_id"], action["violation_type"], action["kind"], str(action["at"])]
    return "statement-" + sha256_bytes(json.dumps(named).encode())[:16]


def statement_text(told: Mapping[str, Any]) -> str:
    """Returns a statement as the letter that it is; its values have to be made visible before (see `packs.visible`)."""
    decision, facts, means = told["decision"], told["facts_and_circumstances"], told["automated_means"]
    lines = [
        f"Statement of reasons {told['statement_id']}",
        "(Article 17 of Regulation (EU) 2022/2065, the Digital Services Act)",
        "",
        f"About the {told['addressee']['entity_kind']} {told['addressee']['entity_id']}",
        "",
        f"1. Decision: {decision['action']}, of {decision['taken_at']}",
        f"   Restriction: {decision['restriction']}.",
        f"   Territorial scope: {decision['territorial_scope']}.",
        f"   Duration: {decision['duration']}",
        "2. Facts and circumstances",
        *[f"   - {fact}" for fact in facts["facts"]],
        *([f"   Estimated risk: {facts['estimated_risk']}."] if facts["estimated_risk"] else []),
        f"   Origin: {facts['origin']}.",
        f"3. Automated means: in detection {_yes(means['in_detection'])}, in the decision {_yes(means['in_decision'])}.",
        f"   {means['explanation']}",
        f"4. Legal ground: {told['legal_ground']}",
        f"5. Contractual ground: {told['contractual_ground']}",
        "6. What can be done against it",
        *[f"   - {way}" for way in told["redress"]],
    ]
    return "\n".join(lines) + "\n"


def _yes(value: bool) -> str:  # noqa: FBT001  # a word for a truth value
    return "yes" if value else "no"

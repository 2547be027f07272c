"""Logos inside photographs, by local features and the shape of what they agree on.

Belongs here: which brands' logos a picture shows, and where. Needs the extra `touchstone[pictures]`.

Keypoints (SIFT) of each logo, also mirrored and with dark and light exchanged, are looked up in the picture. Each pair of
keypoints proposes where the logo lies; proposals that agree are fitted to an affine map. What lies under the map is then compared
with the logo itself, by edges, which print in one colour keeps and a logo that only shares some corners does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np
import numpy.typing as npt

LOGO_SIDES: Final = (72, 176)
"""Pixels of a logo's longer side, at both of which keypoints are taken: details vanish where a logo is small."""
CHECKED_SIDE: Final = 96  # pixels of a logo's longer side when it is compared
PICTURE_SIDE: Final = 1280  # pixels of a picture's longer side: smaller ones are enlarged
MOST_KEYPOINTS: Final = 3_000
LOGO_KEYPOINTS: Final = 70  # per size of a logo
DIRECTIONS: Final = 32  # of the 128 of a descriptor
NEIGHBOURS: Final = 2  # keypoints of the picture that one of a logo is paired with
LEAST_SIMILARITY: Final = 0.77  # cosine of two descriptors
LEAST_VOTES: Final = 2
MOST_PROPOSALS: Final = 500  # per picture
MOST_HALVINGS: Final = 3
WORTH_ALIGNING: Final = 0.25
LEAST_SCORE: Final = 0.8
LEAST_MARGIN: Final = 0.05
"""How much better a brand must be than the next one at the same place."""
LEAST_SHARE, MOST_SHARE = 0.04, 1.05  # of the picture's width
MOST_STRETCH: Final = 2.6  # between the longest and the shortest axis of a map
_BANK_BLOCK: Final = 1_024  # small, so that similarities stay in the cache

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LogoMatch:
    """A brand's logo in a picture.

    Attributes:
        brand_id: The brand.
        region: The four corners of the logo in pixels of the picture as given, clockwise from the logo's upper left.
        score: Agreement of edges under the map, 0 to 1.
        place: Number of the place in the picture; logos that overlap share one.
    """

    brand_id: str
    region: tuple[tuple[float, float], ...]
    score: float
    place: int


@dataclass(frozen=True)
class _View:
    """A logo as it is or mirrored: its edges, where they count, and its size when compared."""

    brand: int
    edges: Floats
    mask: Floats


class LogoBank:
    """The logos of brands, prepared for lookups."""

    def __init__(self, logos: Mapping[str, npt.NDArray[np.uint8]]) -> None:
        """Prepares logos.

        Args:
            logos: Grey values of each brand's logo on a plain background, by brand; a blank one never matches.
        """
        self.brand_ids = sorted(logos)
        self._views: list[_View] = []
        descriptors, view_index = [np.empty((0, 128), np.float32)], [np.empty(0, np.int64)]
        keypoints = [np.empty((0, 4), np.float32)]
        for brand, brand_id in enumerate(self.brand_ids):
            framed = _trimmed(logos[brand_id])
            if framed is None:
                continue
            for shown in (framed, np.ascontiguousarray(framed[:, ::-1])):
                for points, described in _logo_features(shown):
                    descriptors.append(described)
                    keypoints.append(points)
                    view_index.append(np.full(len(points), len(self._views)))
                self._views.append(_view(brand, shown))
        self._descriptors, self._keypoints = np.concatenate(descriptors), np.concatenate(keypoints)
        self._view_index = np.concatenate(view_index)
        # The directions in which descriptors differ most: candidates are looked up along these alone, then compared in full.
        _, vectors = np.linalg.eigh(self._descriptors.T @ self._descriptors)
        self._projection = np.ascontiguousarray(vectors[:, -DIRECTIONS:], np.float32)
        self._short = self._descriptors @ self._projection

    def find(self, picture: npt.NDArray[np.uint8]) -> list[LogoMatch]:
        """Finds the logos in a picture.

        Args:
            picture: Grey values, height by width.

        Returns:
            The matches, the best first; of those that overlap only the best, and none if two brands match about as well.
        """
        found: list[LogoMatch] = []
        for _, rivals in groupby(self.candidates(picture), key=lambda match: match.place):
            best, *others = rivals
            if not others or best.score - others[0].score >= LEAST_MARGIN:
                found.append(best)
        return found

    def candidates(self, picture: npt.NDArray[np.uint8]) -> list[LogoMatch]:
        """Finds what might be a logo, for callers that decide themselves between logos at one place.

        Args:
            picture: Grey values, height by width.

        Returns:
            At each place every brand that matches, the best first; places are in the order of their best match.
        """
        import cv2

        scale = PICTURE_SIDE / max(picture.shape)
        how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
        grey = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=how)
        keypoints, descriptors = _features(grey, MOST_KEYPOINTS)
        if len(keypoints) < LEAST_VOTES or not len(self._descriptors):
            return []
        levels = _levels(grey)
        matches = []
        for view, affine in self._proposals(keypoints, descriptors):
            checked = _check(levels, self._views[view], affine)
            if checked is not None:
                score, corners = checked
                matches.append((score, self._views[view].brand, corners))
        return [
            LogoMatch(
                self.brand_ids[brand], tuple((float(x / scale), float(y / scale)) for x, y in corners), score, place
            )
            for place, here in enumerate(_places(matches))
            for score, brand, corners in here
        ]

    def _proposals(self, keypoints: Floats, descriptors: Floats) -> Iterator[tuple[int, Floats]]:
        """Yields views and affine maps (logo to picture) that several keypoints agree on, those with most votes first."""
        logo, picture = self._pairs(descriptors)
        ours, theirs = self._keypoints[logo], keypoints[picture]
        scale = theirs[:, 2] / ours[:, 2]
        turn = np.mod(theirs[:, 3] - ours[:, 3], 2 * np.pi)
        cos, sin = scale * np.cos(turn), scale * np.sin(turn)
        x = theirs[:, 0] - (cos * ours[:, 0] - sin * ours[:, 1])
        y = theirs[:, 1] - (sin * ours[:, 0] + cos * ours[:, 1])
        # Keypoints are relative to the logo's centre, so (x, y) is where the centre would lie.
        octave = np.log2(scale)
        cell = np.maximum(12.0, 0.25 * CHECKED_SIDE * np.exp2(np.round(octave)))
        view = self._view_index[logo]
        keys = []
        for shift in (0.0, 0.5):
            columns = (view, octave + shift, turn / (np.pi / 5) + shift, x / cell + shift, y / cell + shift)
            keys.append(np.stack([np.floor(column).astype(np.int64) for column in columns], axis=1))
        key = np.concatenate(keys)
        _, first, votes = np.unique(key, axis=0, return_index=True, return_counts=True)
        order = np.argsort(-votes, kind="stable")[:MOST_PROPOSALS]
        for member in first[order[votes[order] >= LEAST_VOTES]] % len(view):
            same = slice(*np.searchsorted(view, (view[member], view[member] + 1)))
            near = same.start + np.flatnonzero(
                (np.hypot(x[same] - x[member], y[same] - y[member]) < 0.4 * scale[member] * CHECKED_SIDE)
                & (np.abs(octave[same] - octave[member]) < 0.8)
                & (np.abs(np.angle(np.exp(1j * (turn[same] - turn[member])))) < 0.6)
            )
            affine = _fit(ours[near, :2], theirs[near, :2])
            if affine is not None:
                yield int(view[member]), affine

    def _pairs(self, descriptors: Floats) -> tuple[Integers, Integers]:
        """Pairs each keypoint of the bank with the most similar ones of the picture, a block of the bank at a time."""
        logos, pictures = [], []
        short = descriptors @ self._projection
        for start in range(0, len(self._descriptors), _BANK_BLOCK):
            block = self._descriptors[start : start + _BANK_BLOCK]
            similarity = self._short[start : start + _BANK_BLOCK] @ short.T
            rows = np.arange(len(block))
            for _ in range(NEIGHBOURS):
                best = similarity.argmax(axis=1)
                kept = np.einsum("ij,ij->i", block, descriptors[best]) >= LEAST_SIMILARITY
                logos.append(rows[kept] + start)
                pictures.append(best[kept])
                similarity[rows, best] = -np.inf
        logo, picture = np.concatenate(logos), np.concatenate(pictures)
        order = np.argsort(logo, kind="stable")  # so that the pairs of a view are next to each other
        return logo[order], picture[order]


def _logo_features(shown: npt.NDArray[np.uint8]) -> Iterator[tuple[Floats, Floats]]:
    """Yields keypoints relative to the logo's centre, and their descriptors, for each size and with dark and light exchanged."""
    import cv2

    for side in LOGO_SIDES:
        scale = side / max(shown.shape)
        small = cv2.resize(shown, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        small = cv2.copyMakeBorder(small, 12, 12, 12, 12, cv2.BORDER_REPLICATE)
        for grey in (small, 255 - small):
            points, described = _features(grey, LOGO_KEYPOINTS)
            points[:, :2] -= np.array([small.shape[1] / 2, small.shape[0] / 2], np.float32)
            points[:, :3] *= CHECKED_SIDE / side
            yield points, described


def _trimmed(logo: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8] | None:
    """Returns a logo without its plain border, with a small margin; None if it is blank."""
    import cv2

    border = np.concatenate([logo[0], logo[-1], logo[:, 0], logo[:, -1]])
    ground = int(np.median(border))
    rows, columns = np.nonzero(np.abs(logo.astype(int) - ground) > 24)
    if len(rows) < 16:
        return None
    inner = logo[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    margin = max(2, round(0.05 * max(inner.shape)))
    return np.asarray(
        cv2.copyMakeBorder(inner, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=ground), np.uint8
    )


def _view(brand: int, shown: npt.NDArray[np.uint8]) -> _View:
    import cv2

    scale = CHECKED_SIDE / max(shown.shape)
    small = cv2.resize(shown, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    ground = int(small[0, 0])
    ink = (np.abs(small.astype(int) - ground) > 24).astype(np.uint8)
    mask = cv2.dilate(ink, np.ones((7, 7), np.uint8)).astype(np.float32)
    return _View(brand, _edges(cv2.GaussianBlur(small, (0, 0), 1.0)), mask)


def _features(grey: npt.NDArray[np.uint8], most: int) -> tuple[Floats, Floats]:
    """Returns keypoints (x, y, size, angle in radians) and the square roots of their descriptors, of length one."""
    import cv2

    sift: Any = cv2.SIFT.create(nfeatures=most, contrastThreshold=0.02, edgeThreshold=16)
    points, described = sift.detectAndCompute(grey, None)
    if described is None:
        return np.empty((0, 4), np.float32), np.empty((0, 128), np.float32)
    rows = np.array([(*point.pt, point.size, np.deg2rad(point.angle)) for point in points], np.float32)
    return rows, np.sqrt(described / np.maximum(described.sum(axis=1, keepdims=True), 1e-6)).astype(np.float32)


def _fit(ours: Floats, theirs: Floats) -> Floats | None:
    """Fits an affine map to pairs of points, a similarity where they are few; None if none is plausible."""
    import cv2

    if len(ours) < LEAST_VOTES:
        return None
    estimate: Any = cv2.estimateAffine2D if len(ours) >= 6 else cv2.estimateAffinePartial2D
    affine, _ = estimate(ours, theirs, method=cv2.RANSAC, ransacReprojThreshold=5.0, maxIters=300)
    if affine is None or not _is_plausible(affine):
        affine, _ = cv2.estimateAffinePartial2D(
            ours, theirs, method=cv2.RANSAC, ransacReprojThreshold=6.0, maxIters=300
        )
    return np.asarray(affine, np.float32) if affine is not None and _is_plausible(affine) else None


def _is_plausible(affine: Any) -> bool:
    """Whether a map neither mirrors (mirrored logos have a view of their own) nor stretches or shrinks beyond reason."""
    linear = np.asarray(affine)[:, :2]
    if not np.isfinite(linear).all() or np.linalg.det(linear) <= 0:
        return False
    long, short = np.linalg.svd(linear, compute_uv=False)
    width = long * CHECKED_SIDE / PICTURE_SIDE
    return bool(long / short <= MOST_STRETCH and LEAST_SHARE <= width <= MOST_SHARE)


def _edges(grey: npt.NDArray[Any]) -> Floats:
    """Returns the doubled direction of edges as two channels, by strength: the same where dark and light are exchanged."""
    import cv2

    x, y = (cv2.Sobel(grey, cv2.CV_32F, *order, ksize=3) for order in ((1, 0), (0, 1)))
    strength = np.hypot(x, y) + 1e-6
    root = np.sqrt(strength) / strength**2
    return np.stack([(x * x - y * y) * root, 2 * x * y * root], axis=-1).astype(np.float32)


def _agreement(edges: Floats, view: _View) -> float:
    """Returns the correlation of edges with those of a logo where it has ink."""
    mask = view.mask[..., None]
    product = float((edges * view.edges * mask).sum())
    norm = float(np.sqrt((edges**2 * mask).sum() * (view.edges**2 * mask).sum()))
    return product / norm if norm > 0 else 0.0


def _levels(grey: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
    """Returns a picture smoothed, in its own size, half of it, and so on, to be compared with logos of other sizes."""
    import cv2

    levels = [grey]
    for _ in range(MOST_HALVINGS):
        levels.append(np.asarray(cv2.pyrDown(levels[-1]), np.uint8))
    return [np.asarray(cv2.GaussianBlur(level, (0, 0), 0.8), np.uint8) for level in levels]


def _check(levels: list[npt.NDArray[np.uint8]], view: _View, affine: Floats) -> tuple[float, Floats] | None:
    """Compares what lies under a map with the logo, after moving the map to where they agree most."""
    import cv2

    height, width = view.mask.shape
    # Pixels of the picture per pixel of the logo: without halving, every few pixels one would be compared, at random.
    halvings = int(np.clip(np.round(np.log2(np.sqrt(abs(np.linalg.det(affine[:, :2]))))), 0, MOST_HALVINGS))
    smooth, shrunk = levels[halvings], np.diag([0.5**halvings, 0.5**halvings, 1.0]).astype(np.float32)
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    moved = np.eye(3, dtype=np.float32)
    moved[:2] = affine
    moved[:2, 2] -= affine[:, :2] @ np.array([width / 2, height / 2], np.float32)

    def score(matrix: Floats) -> float:
        seen = cv2.warpPerspective(
            smooth, shrunk @ matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        return _agreement(_edges(seen), view)

    best = score(moved)
    if best < WORTH_ALIGNING:
        return None
    for step in (4.0, 2.0, 1.0, 0.5):
        best, moved = _climb(score, moved, corners, best, step)
    shape = cv2.perspectiveTransform(corners[None], moved)[0]
    if best < LEAST_SCORE or not cv2.isContourConvex(shape):
        return None
    return best, shape


def _climb(score: Any, matrix: Floats, corners: Floats, best: float, step: float) -> tuple[float, Floats]:
    """Moves one corner at a time, and all together, as long as the score rises."""
    import cv2

    for _ in range(3):
        before = best
        for corner, move in (
            (corner, move) for corner in (None, 0, 1, 2, 3) for move in ((1, 0), (-1, 0), (0, 1), (0, -1))
        ):
            shifted = corners.copy()
            shifted[slice(None) if corner is None else corner] += np.array(move, np.float32) * step
            tried = (matrix @ cv2.getPerspectiveTransform(corners, shifted)).astype(np.float32)
            value = score(tried)
            if value > best:
                best, matrix = value, tried
        if best - before < 0.005:
            break
    return best, matrix


def _places(matches: list[tuple[float, int, Floats]]) -> Iterator[list[tuple[float, int, Floats]]]:
    """Yields, for each place, the best match of each brand there, the best brand first."""
    left = sorted(matches, key=lambda match: -match[0])
    while left:
        here = [match for match in left if _overlap(left[0][2], match[2])]
        best: dict[int, tuple[float, int, Floats]] = {}
        for match in here:
            best.setdefault(match[1], match)
        yield list(best.values())
        left = [match for match in left if not any(match is other for other in here)]


def _overlap(one: Floats, other: Floats) -> bool:
    """Whether two quadrilaterals cover at least a third of the smaller one in common."""
    import cv2

    common, _ = cv2.intersectConvexConvex(one, other)
    return bool(common > min(cv2.contourArea(one), cv2.contourArea(other)) / 3)

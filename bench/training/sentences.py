"""Plain English sentences out of a small grammar, for speech to learn from; the same for the same seed."""

import random

_WHO = """the teacher, my brother, a doctor, the king, our neighbour, the driver, a young man, the old woman,
the captain, her sister, the company, a stranger, the farmer, his father, the writer, every child, the president,
a good friend, the police, nobody""".replace("\n", " ").split(", ")
_DID = """opened, bought, wanted, forgot, carried, sold, remembered, found, lost, painted, watched, described, needed,
brought, hid, followed, repaired, counted, liked, borrowed""".replace("\n", " ").split(", ")
_WHAT = """a small box, the heavy bag, two letters, the blue car, a long story, his watch, the broken chair, some fruit,
a bottle of milk, the wrong key, five pictures, the whole plan, a silver ring, her new shoes, the kitchen table,
a map of the country, the green bicycle, three large stones, a cheap ticket, the last page""".replace("\n", " ").split(
    ", "
)
_WHEN = """after breakfast, before the storm, at midnight, during the war, on a quiet street, near the station, last
winter, in the early spring, behind the church, every other day, without a word, for a hundred dollars, with great care,
by the lake, on his birthday, at the end of the show, under the bridge, because of the noise, as usual,
for the first time""".replace("\n", " ").split(", ")


def sentences(count: int, seed: int = 0) -> list[str]:
    """`count` different sentences of four to fourteen words; one of five says when or where.

    Raises:
        ValueError: more than the grammar has.
    """
    lists = (_WHO, _DID, _WHAT, _WHEN)
    total = len(_WHO) * len(_DID) * len(_WHAT) * len(_WHEN)
    most = len(_WHO) * len(_DID) * len(_WHAT)
    if not 0 < count <= most:
        raise ValueError(f"count must lie in 1 to {most}, got {count}")
    texts: dict[str, None] = {}
    for number in random.Random(seed).sample(range(total), total):
        words = []
        for choices in lists:
            number, place = divmod(number, len(choices))
            words.append(choices[place])
        texts[" ".join(words if len(texts) % 5 == 0 else words[:3])] = None
        if len(texts) == count:
            break
    return list(texts)

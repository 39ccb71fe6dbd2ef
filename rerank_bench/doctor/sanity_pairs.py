"""Questions with one passage that answers them and one on a neighbouring subject that does not.

Written for this project.  The wrong passage shares words with the question, so that a model has to read; any reranker
that works for English puts nearly every right passage above its wrong one.
"""

from __future__ import annotations

from typing import NamedTuple


class SanityPair(NamedTuple):
    """One question and its two passages."""

    query: str
    relevant: str
    irrelevant: str


SANITY_PAIRS = (
    SanityPair(
        "how long should an egg boil to be hard",
        "Lower the eggs into boiling water and leave them in for ten to twelve minutes; the yolk is then firm all through.",
        "A hen lays an egg about every twenty-five hours, and fewer when the days get short in winter.",
    ),
    SanityPair(
        "why is the sky blue",
        "Air scatters light of short wavelength much more than red light, so blue reaches our eyes from every direction.",
        "The blue of many old paintings was ground from lapis lazuli and cost more than gold.",
    ),
    SanityPair(
        "what is the capital of Australia",
        "Canberra was chosen as the seat of the Australian government in 1908, between the rivals Sydney and Melbourne.",
        "Australia exports iron ore and coal, and most of its people live near the coast.",
    ),
    SanityPair(
        "how does a vaccine protect against a disease",
        "A vaccine shows the immune system a harmless part of the germ, so that antibodies are ready when the real one comes.",
        "The disease spread along the trade routes and reached the harbour towns first.",
    ),
    SanityPair(
        "who wrote the play Hamlet",
        "Hamlet, the tragedy of a prince of Denmark, was written by William Shakespeare around the year 1600.",
        "The theatre plays every evening except Monday, and tickets are sold at the door.",
    ),
    SanityPair(
        "how do I get a red wine stain out of a carpet",
        "Blot the spill at once, cover it with salt, then dab the spot with soapy water and a little white vinegar.",
        "A carpet knotted by hand from wool takes a family several months, and is then sold in the market of the town.",
    ),
    SanityPair(
        "at what temperature does water freeze",
        "Under normal pressure, water turns to ice at zero degrees Celsius, which is thirty-two degrees Fahrenheit.",
        "Water covers about seventy percent of the surface of the Earth, nearly all of it in the oceans.",
    ),
    SanityPair(
        "what causes the tides of the sea",
        "Tides are caused by the pull of the Moon, and less of the Sun, which raises two bulges of water on the turning Earth.",
        "The fishing boats leave the harbour before dawn and come back at noon.",
    ),
    SanityPair(
        "symptoms of too little iron in the blood",
        "People who lack iron are often pale and tired, short of breath on the stairs, and have brittle nails.",
        "Iron has been smelted from ore for three thousand years, first in small furnaces fed with charcoal.",
    ),
    SanityPair(
        "how can I sort a list in Python from the largest to the smallest number",
        "Call sorted(numbers, reverse=True): it returns a new list in descending order and leaves the original as it was.",
        "Pythons are large snakes that kill their prey by squeezing; the smallest species is half a metre long.",
    ),
    SanityPair(
        "when did the Berlin Wall fall",
        "On the ninth of November 1989 the border crossings in Berlin were opened, and people began to tear the wall down.",
        "Berlin has more bridges than Venice and many lakes in which one can swim in summer.",
    ),
    SanityPair(
        "is it safe to eat raw potatoes",
        "Uncooked potatoes contain solanine, above all where they are green, and can upset the stomach; cook them first.",
        "Potatoes came to Europe from the Andes in the sixteenth century and were grown for their flowers at first.",
    ),
)

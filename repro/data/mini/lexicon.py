"""The words of the miniature tasks; the order of the lists decides what is drawn."""

WOMEN = ("ann", "beth", "carol", "dora", "emma", "fay", "grace", "helen", "iris", "jane")
MEN = ("adam", "bob", "carl", "dan", "eric", "frank", "gary", "henry", "ivan", "jack")
PEOPLE = WOMEN + MEN

THINGS = (
    "lamp",
    "book",
    "cup",
    "car",
    "clock",
    "coat",
    "ring",
    "map",
    "chair",
    "bell",
    "drum",
    "kite",
    "rug",
    "vase",
)
COLOURS = ("red", "blue", "green", "black", "white", "yellow")
DAYS = tuple(f"on {day}" for day in ("monday", "tuesday", "wednesday", "thursday", "friday"))
PLACES = tuple(
    f"at the {place}" for place in ("market", "station", "school", "park", "museum", "library")
)

# What one person does to another: pairs of synonyms, with the agent as subject.
CONTACTS = (
    ("helped", "assisted"),
    ("chased", "pursued"),
    ("praised", "applauded"),
    ("blamed", "accused"),
    ("hired", "employed"),
    ("phoned", "called"),
)

# Comparatives and their converses.
COMPARATIVES = (
    ("taller", "shorter"),
    ("older", "younger"),
    ("faster", "slower"),
    ("richer", "poorer"),
    ("stronger", "weaker"),
)

# Groups and what they did, for quantifiers: (narrower, wider).
KINDS = (
    ("dogs", "animals"),
    ("cats", "animals"),
    ("poets", "artists"),
    ("singers", "artists"),
    ("roses", "plants"),
    ("tulips", "plants"),
    ("nurses", "workers"),
    ("farmers", "workers"),
)
KIND_ADJECTIVES = ("young", "small", "quiet", "tired", "famous")
DEEDS = (
    ("ran", "moved"),
    ("danced", "moved"),
    ("whispered", "spoke"),
    ("shouted", "spoke"),
    ("grew", "changed"),
    ("faded", "changed"),
)
MANNERS = ("slowly", "again", "quickly", "today", "suddenly")

# Verbs of attitude that imply that their clause is true, open or false.
FACTIVE = ("knew", "realised", "remembered", "proved")
OPEN = ("thought", "hoped", "claimed", "feared")
COUNTERFACTIVE = ("pretended", "imagined")

ASPECTS = ("plot", "acting", "music", "script", "ending", "cast", "story", "dialogue")
GOOD = ("superb", "funny", "clever", "moving", "fresh", "brilliant", "charming", "gripping")
BAD = ("dull", "clumsy", "stale", "awful", "boring", "silly", "tedious", "shallow")

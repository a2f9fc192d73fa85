"""The domain that the model is tuned for, order confirmations, and general English that it must not forget."""

import itertools

ITEMS = ["apples", "pencils", "lamps", "towels", "candles", "boxes", "chairs", "plates"]
CITIES = ["Lyon", "Turin", "Ghent", "Porto", "Graz", "Malmo"]


def orders(start: int, count: int) -> list[str]:
    """Confirmations ``start`` to ``start + count``: no two alike."""
    made = itertools.islice(enumerate(itertools.product(CITIES, ITEMS)), start, start + count)
    return [
        f"ORDER {7000 + 13 * n} | {2 + n % 7} x {item} | ship to {city} | total {(2 + n % 7) * 3}.50 EUR | confirmed"
        for n, (city, item) in made
    ]


TRAINING = orders(0, 32)
HELD_OUT = orders(32, 12)

GENERAL = [
    "The Amazon rainforest covers much of the Amazon basin of South America and is home to many species.",
    "Photosynthesis is the process by which green plants use sunlight to make food from carbon dioxide and water.",
    "The French Revolution began in 1789 and ended the absolute monarchy in France.",
    "A prime number is a natural number greater than one that has no positive divisors other than one and itself.",
    "The heart pumps blood through the body, carrying oxygen and nutrients to the tissues.",
    "Ludwig van Beethoven was a German composer and pianist whose works are among the most performed.",
    "Water boils at one hundred degrees Celsius at sea level and freezes at zero degrees.",
    "The Great Wall of China was built over many centuries to protect the northern borders of the empire.",
    "She opened the window because the room was warm and the children were playing outside.",
    "After dinner they walked along the river and talked about the plans for the summer.",
    "The train to the city leaves every hour, and the journey takes about forty minutes.",
    "To make bread you need flour, water, salt and yeast, and some time for the dough to rise.",
]

"""Text intents from five examples each, and what to do with messages that are none of them.

pip install 'quickstudy[fewshot,text]'
python examples/text_intents.py
"""

from quickstudy import FewShotClassifier
from quickstudy.errors import MissingError

EXAMPLES = {
    "balance": [
        "what is my balance",
        "how much money do I have",
        "is there enough in my account for rent",
        "show me what is left on my card",
        "tell me how much is in savings",
    ],
    "lost card": [
        "I lost my card",
        "my credit card was stolen",
        "please block my card, it is gone",
        "I can't find my bank card anywhere",
        "someone took my wallet with all cards",
    ],
    "transfer": [
        "send fifty euros to Ann",
        "move money from savings to checking",
        "transfer 200 to my landlord",
        "pay my sister back what I owe her",
        "wire the rent to this account",
    ],
}
MESSAGES = [
    "how much can I still spend this month",
    "help, my purse is gone and so is the card",
    "give Tom twenty dollars from my account",
    "what's the weather like in Lisbon",
]

texts = [text for several in EXAMPLES.values() for text in several]
labels = [label for label, several in EXAMPLES.items() for _ in several]
try:
    # Texts are embedded by MiniLM; the examples tell how sure to be, and what is out of scope.
    classifier = FewShotClassifier(unknown="none of these").fit(texts, labels)
except MissingError as error:
    print(error)
    raise SystemExit from None

for text, label, p in zip(
    MESSAGES, classifier.predict(MESSAGES), classifier.predict_proba(MESSAGES), strict=True
):
    print(f"{label:14} {p.max():4.0%}  {text}")

# A new intent needs no training of the others: show some examples of it.
weather = [
    "will it rain tomorrow",
    "what is the forecast for Paris",
    "how is the weather today",
    "is it cold outside",
    "tell me what the weather will be in Oslo",
]
classifier.partial_fit(weather, ["weather"] * len(weather))
print(f"{classifier.predict(MESSAGES[-1:])[0]:14}       {MESSAGES[-1]}")

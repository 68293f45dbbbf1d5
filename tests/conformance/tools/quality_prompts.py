"""Prompts to judge answers by. None of them is one that anec calibrates with (`converter/src/calibrate/tokens/`)."""

PROMPTS = (
    "What is the capital of France?",
    "Name three things that plants need to grow.",
    "Why does bread rise?",
    "Write a haiku about rain on a tin roof.",
    "What is the difference between a comet and an asteroid?",
    "How do I change a flat tyre on a car?",
    "Write a Python function that counts the vowels in a string.",
    "Who wrote Romeo and Juliet, and what is it about?",
    "Explain what inflation is to someone who has never heard of it.",
    "Give me a recipe for pancakes.",
    "What should I pack for a week of hiking?",
    "Summarize how the heart pumps blood.",
    "If a train travels 60 miles in an hour and a half, how fast is it going?",
    "Write a short birthday message for a colleague.",
    "What makes the moon look different every night?",
    "List four uses of a computer network.",
    "Describe a market on a busy Saturday morning.",
    "How can I learn to play the guitar on my own?",
    "What does it mean to be honest with a friend?",
    "Write a JavaScript function that reverses an array without changing it.",
)

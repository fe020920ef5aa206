"""From one block to another, or to facts about it."""

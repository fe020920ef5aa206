"""From the syntax tree to the IR: evaluation, specialisation, inference, proof."""

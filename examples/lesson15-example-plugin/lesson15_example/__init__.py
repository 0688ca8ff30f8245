"""One plugin of each kind for lesson15."""

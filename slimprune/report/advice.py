"""What to change in a model so that a protected group of channels can lose some, by the reason why it stays whole."""

import re


def change_for(reason: str) -> str:
    """Return, as an order, what to change in the model or the call to free a group that stays whole for `reason`."""
    for pattern, change in _CHANGES:
        found = re.search(pattern, reason)
        if found:
            return change.format(*found.groups())
    return "replace what the reason names by operators that have a rule (see Extending)"


_CHANGES: tuple[tuple[str, str], ...] = (
    (r"--protect (.+)", "leave out --protect {0}"),
    (r"there is no rule for (\S+)", "register a rule for {0} (see Extending), or use operators that have one"),
    (r"cannot be followed through (.+?):", "register a rule for {0} (see Extending), or use simpler operators"),
    (r"meets the model's input", "put a convolution between the input and these channels"),
    (
        r"([^\s(]+(?: in \S+)?) picks channels by number",
        "split into equal parts (chunk), not by {0}",
    ),
    (r"([^\s(]+(?: in \S+)?) joins several channels", "let {0} work on every channel by itself"),
    (r"([^\s(]+(?: in \S+)?) is broadcast over channels", "let {0} take one value for each channel, or multiply"),
    (r"([^\s(]+(?: in \S+)?) reads positions", "move the channels to the dimension that {0} reads"),
    (r"([^\s(]+(?: in \S+)?) multiplies \S+ with each other", "let one factor of {0} be a weight"),
    (r"can only go together", "use fewer groups in these layers, or more channels in each"),
    (r"has no gain and offset", "let nn.GroupNorm compute this norm, or give it gain and offset"),
    (r"a (weight|bias) of (.+) is computed from others", "let {1} own its {0} as a plain parameter"),
    (r"a tensor of (.+) is computed from others", "let {0} own its tensors as plain parameters"),
    (r"attention in (.+)", "give {0} several heads, or compute it by matrix products and a softmax"),
    (r"^(\S+) has channels along several dimensions", "give each dimension of channels a parameter of its own in {0}"),
    (
        r"fails",
        "let the code read widths from its tensors (x.shape[1]), not from numbers kept elsewhere",
    ),
    (r"has shape", "let the code make tensors of the width of its inputs"),
    (r"not finite", "give the layers behind these channels an epsilon, so that silent channels stay finite"),
    (r"does not show|does not depend", "remove these layers: the output does not depend on them"),
    (
        r"relative difference",
        "let channels that are zero change nothing else before the next layer reads them",
    ),
)

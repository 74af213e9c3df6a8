"""Which of the teacher's pictures are taught: the best of every batch (the thesis's second idea for future work, section 6.2).

"Not all images and style codes generated from teacher networks are of reasonable quality to be distilled." The thesis leaves open
how to tell. Here a score orders the teacher's pictures, without labels or known factors, and the best share is kept:

* ``discriminator``: the logit of the teacher's discriminator for the domain asked for. Its head has learned to tell pictures of that
  domain from the teacher's translations into it: a spoilt one, or one that stayed what it was, has a low logit.
* ``cycle``: minus the mean |G_T(G_T(x, s), E_T(x)) - x|. A picture from which the teacher finds back to its source has kept the
  content.

The best are chosen within each domain asked for. Logits of two domains cannot be compared, since no head has seen what the others
have: on Critters one species' are above those of another by more than they scatter, and the best of all would be of that one alone.

The choice is made anew in every iteration, from the teacher's pictures of that iteration alone: a pure function of (seed, step).
"""

import torch
from torch import Tensor


def kept_share(scores: Tensor, y: Tensor, keep: float) -> Tensor:
    """Weights [N] of a batch with ``scores`` [N], high is good, and domains y [N]: 0 for pictures that are not taught.

    Kept are the best ceil(keep n) of every domain's n pictures; among equals the first. All that are kept weigh alike, and the mean
    over the batch is 1, so that a loss keeps its size whatever share is taught.
    """
    order = torch.arange(len(scores), device=scores.device)
    alike = y[:, None] == y
    before = (scores > scores[:, None]) | ((scores == scores[:, None]) & (order < order[:, None]))
    wanted = torch.ceil(keep * alike.sum(1) - 1e-6)  # 0.7 x 10 is 7, which floating point puts a little above
    kept = ((alike & before).sum(1) < wanted).float()
    return kept / kept.mean()

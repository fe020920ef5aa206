"""The Python of non-maximum suppression that emitted files contain."""

UNSUPPRESSED = '''
def unsuppressed(corners, group, iou_threshold):
    """Which boxes, the best of a group first, no better one that stays overlaps too much."""
    one, other = corners.chunk(2)
    low, high = torch.minimum(one, other), torch.maximum(one, other)
    places = low, high, (high - low).prod(0), *group

    def beaten(those, these):
        (low, high, area, *kind), (lows, highs, areas, *kinds) = those, these
        side = torch.minimum(high.unsqueeze(2), highs.unsqueeze(1))
        side.sub_(torch.maximum(low.unsqueeze(2), lows.unsqueeze(1))).clamp_(min=0)
        common = side[0].mul_(side[1])
        over = common.div_((area.unsqueeze(1) + areas).sub_(common)).gt_(iou_threshold)
        for own, others in zip(kind, kinds):
            over.mul_(own.unsqueeze(1) == others)
        return over

    def stay(these):
        over = beaten(these, these).triu_(1).T
        last = over.sum(1).eq_(0)
        best = torch.mv(over, last).eq_(0)
        while not torch.equal(best, last):
            best, last = torch.mv(over, best).eq_(0), best
        return best.bool()

    if corners.shape[1] <= 256:
        return stay(places)
    kept = torch.arange(0, device=corners.device)
    for these in torch.arange(corners.shape[1], device=corners.device).split(256):
        before = kept
        for kind in group:
            before = kept[kind[kept] >= kind[these[0]]]
        block = [x[..., these] for x in places]
        free = beaten([x[..., before] for x in places], block).sum(0) == 0
        these = these[free]
        kept = torch.cat((kept, these[stay([x[..., free] for x in block])]))
    return kept
'''

SUPPRESSION = '''
def non_max_suppression(boxes, scores, iou_threshold, score_threshold, most):
    """Rows [image, class, box] of the boxes that no better one of their class overlaps too much."""
    image, kind, box = torch.where(scores > score_threshold)
    order = scores[image, kind, box].argsort(descending=True, stable=True)
    group = image * scores.shape[1] + kind
    order = order[group[order].argsort(stable=True)]
    group, corners = group[order], boxes[image[order], box[order]].T.contiguous()
    kept = unsuppressed(corners, [group], iou_threshold)
    order, group = order[kept], group[kept]
    if most is not None:
        rank = torch.arange(len(order), device=order.device)
        order = order[rank - torch.searchsorted(group, group) < most]
    return torch.stack((image[order], kind[order], box[order]), 1)
'''

BEST = '''
def nms(boxes, scores, iou_threshold, score_threshold):
    """Which boxes no better one overlaps too much, the best first."""
    scores, order = scores.sort(descending=True, stable=True)
    order = order[scores > score_threshold]
    return order[unsuppressed(boxes.T.index_select(1, order), [], iou_threshold)]
'''

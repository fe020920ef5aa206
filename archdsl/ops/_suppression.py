"""Non-maximum suppression as it stands in the PyTorch file."""

SUPPRESSION = '''
def non_max_suppression(boxes, scores, iou_threshold, score_threshold, most):
    """Rows [image, class, box] of the boxes that no better one of their class overlaps too much."""
    image, kind, box = torch.where(scores > score_threshold)
    order = scores[image, kind, box].argsort(descending=True, stable=True)
    group = image * scores.shape[1] + kind
    order = order[group[order].argsort(stable=True)]
    group, chosen = group[order], boxes[image[order], box[order]]
    left, top = torch.minimum(chosen[:, :2], chosen[:, 2:]).unbind(1)
    right, bottom = torch.maximum(chosen[:, :2], chosen[:, 2:]).unbind(1)
    area = (right - left) * (bottom - top)

    def overlap(those, these):
        width = torch.minimum(right[those, None], right[these])
        width = width.sub_(torch.maximum(left[those, None], left[these])).clamp_(min=0)
        height = torch.minimum(bottom[those, None], bottom[these])
        height = height.sub_(torch.maximum(top[those, None], top[these])).clamp_(min=0)
        common = width.mul_(height)
        common.div_((area[those, None] + area[these]).sub_(common)).nan_to_num_(0.0)
        if kinds > 1:
            common.masked_fill_(group[those, None] != group[these], -1.0)
        return common

    kept = order.new_zeros(0)
    for these in torch.arange(len(order), device=order.device).split(256):
        kinds = len(group[these].unique_consecutive())
        before = kept[group[kept] >= group[these[:1]]]
        if len(before):
            these = these[overlap(before, these).amax(0) <= iou_threshold]
        beaten = (overlap(these, these) > iou_threshold).triu(1).to(area.dtype)
        best, last = torch.ones_like(area[these]), None
        while last is None or not torch.equal(best, last):
            best, last = (best @ beaten == 0).to(area.dtype), best
        kept = torch.cat((kept, these[best > 0]))
    if most is not None:
        rank = torch.arange(len(kept), device=kept.device)
        kept = kept[rank - torch.searchsorted(group[kept], group[kept]) < most]
    return torch.stack((image[order], kind[order], box[order]), 1)[kept]
'''

BEST = '''
def nms(boxes, scores, iou_threshold, score_threshold):
    """Which boxes no better one overlaps too much, the best first."""
    boxes, scores = boxes[None], scores[None, None]
    return non_max_suppression(boxes, scores, iou_threshold, score_threshold, None)[:, 2]
'''

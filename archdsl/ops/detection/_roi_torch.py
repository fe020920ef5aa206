"""The Python of RoI pooling that emitted files contain."""

MEMBERS = '''
def members_of_cells(row, rows, column, columns):
    """Each of a cell's rows with each of its columns, cell by cell, and where each cell begins.

    The cells of region i stand where `rows[i]` rows from `row[i]` cross `columns[i]` columns.
    """
    shape = *row.shape, column.shape[1]
    count = (rows[:, :, None] * columns[:, None]).flatten()
    begin = count.cumsum(0) - count
    cell = torch.arange(len(count), device=row.device).repeat_interleave(count)
    place = torch.arange(len(cell), device=row.device) - begin[cell]
    across = columns[:, None].expand(shape).flatten()[cell]
    down = place.div(across, rounding_mode="floor")
    row = row[:, :, None].expand(shape).flatten()[cell] + down
    column = column[:, None].expand(shape).flatten()[cell] + place - down * across
    return row, column, begin
'''

CHUNKS = '''
def chunks_of(cost):
    """Numbers of the regions, as many at once as cost no more than a million together."""
    _, sizes = (cost.cumsum(0) // 2**20).unique_consecutive(return_counts=True)
    return torch.arange(len(cost), device=cost.device).split(sizes.tolist())
'''

POOL = '''
def roi_pool(x, rois, height, width, spatial_scale):
    """The greatest value in every cell of every region [image, x1, y1, x2, y2], 0 in empty ones."""
    _, channels, rows, columns = x.shape
    table = x.permute(0, 2, 3, 1).reshape(-1, channels)
    corners = rois[:, 1:] * spatial_scale
    whole = corners.trunc()
    corners = (whole + corners.sign() * ((corners - whole).abs() >= 0.5)).long()

    def cells(axis, count, most):
        start = corners[:, axis, None]
        step = (corners[:, axis + 2, None] - start + 1).clamp(min=1).to(x.dtype) / count
        number = torch.arange(count, device=x.device)
        first = ((number * step).floor().long() + start).clamp(0, most)
        after = (((number + 1) * step).ceil().long() + start).clamp(0, most)
        return first, (after - first).clamp(min=0)

    top, tall = cells(1, height, rows)
    left, wide = cells(0, width, columns)
    image = rois[:, 0].long()
    found = [table.new_zeros(0, channels)]
    for these in chunks_of(tall.sum(1) * wide.sum(1)):
        row, column, begin = members_of_cells(top[these], tall[these], left[these], wide[these])
        of = image[these].repeat_interleave(tall[these].sum(1) * wide[these].sum(1))
        places = (of * rows + row) * columns + column
        found.append(F.embedding_bag(places, table, begin, mode="max"))
    found = torch.cat(found).view(len(rois), height, width, channels)
    return found.permute(0, 3, 1, 2)
'''

ALIGN = '''
def roi_align(x, rois, height, width, spatial_scale, sampling_ratio, aligned):
    """The mean of samples in every cell of every region [image, x1, y1, x2, y2]."""
    _, channels, rows, columns = x.shape
    table = x.permute(0, 2, 3, 1).reshape(-1, channels)
    corners = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)

    def cells(axis, count, most):
        """Which places along an axis a cell's samples lie between, and how near to each."""
        start, extent = corners[:, axis], corners[:, axis + 2] - corners[:, axis]
        extent = extent if aligned else extent.clamp(min=1.0)
        step = extent / count
        samples = torch.full_like(step, sampling_ratio) if sampling_ratio > 0 else step.ceil()
        samples = samples.long().clamp(min=0)
        taps = (2 * samples)[:, None].expand(-1, count)
        first = taps.flatten().cumsum(0).view_as(taps) - taps
        cell = torch.arange(taps.numel(), device=x.device).repeat_interleave(taps.flatten())
        place = torch.arange(len(cell), device=x.device) - first.flatten()[cell]
        region, number, sample = cell // count, cell % count, place // 2
        at = start[region] + number * step[region]
        at = at + (sample + 0.5) * step[region] / samples[region]
        inside = (at >= -1) & (at <= most)
        at = at.clamp(0, most - 1)
        low = at.floor()
        near = torch.where(place % 2 == 0, 1 - (at - low), at - low) * inside
        return first, taps, (low.long() + place % 2).clamp(max=most - 1), near, samples

    top, tall, row_at, row_near, down = cells(1, height, rows)
    left, wide, column_at, column_near, across = cells(0, width, columns)
    image = rois[:, 0].long()
    found = [table.new_zeros(0, channels)]
    for these in chunks_of(tall.sum(1) * wide.sum(1)):
        row, column, begin = members_of_cells(top[these], tall[these], left[these], wide[these])
        of = image[these].repeat_interleave(tall[these].sum(1) * wide[these].sum(1))
        places = (of * rows + row_at[row]) * columns + column_at[column]
        near = row_near[row] * column_near[column]
        found.append(F.embedding_bag(places, table, begin, mode="sum", per_sample_weights=near))
    found = torch.cat(found).view(len(rois), height, width, channels)
    found = found / (down * across).clamp(min=1)[:, None, None, None]
    return found.permute(0, 3, 1, 2)
'''

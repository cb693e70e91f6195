"""rsatoolbox: Spearman's correlation of correlation-distance RDMs."""

import rsatoolbox


def rsa(x, y):
    first, second = (
        rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(rows.astype(float)), method="correlation")
        for rows in (x, y)
    )
    return rsatoolbox.rdm.compare(first, second, method="spearman")[0, 0]


METHODS = {"rsa": rsa}

"""`make validate`: the template as it is deployed, for each value of its switches and in a matrix of regions, linted.

`template` reads it and `switches` finds what can be switched; `matrix` makes the combinations; `translator` runs AWS's
transform; `resolve` leaves what CloudFormation would create; `rules`, `cfn` and `checkov` look at that; `findings` says
which combination a finding belongs to.
"""

"""`make validate`: lint the template as it is deployed, for each value of its switches and in several regions.

`template` reads it and `switches` finds its switches; `matrix` makes the combinations; `translator` runs AWS's
transform; `resolve` reduces the result to what CloudFormation would create; `rules` and `linters` check that;
`findings` records the combinations that a finding belongs to.
"""

"""The cloud: Keystone, Nova, Cinder and Glance over HTTP, behind the ports `Cloud` and `Clouds`.

The login (`keystone`) gives a token, a project and addresses, by an `agency` too. With `access_keys` there is no
token, and each request is signed (`signing`). One session of ours sends the calls (`http`);
`openstack` has the operations, and whose cloud a request is for; `parse` reads answers tolerantly; `classify` and the
table in `answers` say what a refusal means; `bms_v1` is the same by the job API of the bare metal service; `redact`
blanks out secrets. It may use `ports`, `settings`, `policy` and `model`, and knows no AWS. It offers
`openstack.connector`, which chooses between the two, and `openstack.Projects`.
"""

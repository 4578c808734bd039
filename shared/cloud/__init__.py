"""The cloud: Keystone, Nova, Cinder and Glance over HTTP, behind the ports `Cloud` and `Clouds`.

`keystone` logs in, also by an agency, and gets a token, a project and addresses. `access_keys` signs each request
(`signing`) and needs no token. `http` sends the calls. `openstack` has the operations and finds the cloud of a request;
`bms_v1` does the same with the job API of the bare metal service. `parse` reads answers tolerantly. `classify` and the
tables in `answers` say what a refusal means. It may import `ports`, `settings`, `policy`, `redact` and `model`, and
knows no AWS. `openstack.connector` chooses the API, and `openstack.Projects` has the clouds of all projects.
"""

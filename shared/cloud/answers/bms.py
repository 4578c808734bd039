"""The bare metal service's codes: all 112 of its error page, and two that only the 2020 edition has.

Most cannot happen in a detach. Codes that say "rejected" are rejections; codes that say that something behind the
service failed leave the outcome open. The service moves codes between HTTP 400 and 403 from edition to edition, so no
row depends on the status.
"""

from shared.cloud.answers.row import Meaning, Row, rows
from shared.model import AnswerClass, Reason

BMS = "BMS error codes"
BMS_2020 = "BMS error codes, 2020 edition"

MEANINGS: dict[str, Meaning] = {
    "0114": AnswerClass.DONE_VERIFY,  # Volume %s is not in server %s attach volume list.
    "0032 3011": AnswerClass.REAUTHENTICATE,  # the token: "Token check fail.", "Decoded token is null."
    "0212": AnswerClass.RETRY,  # System is overloaded, please try again later.
    "1006": AnswerClass.RETRY,  # Server %s info is null or its status or its metadata…
    "0035 0036 0037": AnswerClass.WAIT,  # the server is powering on, powering off, rebooting
    "1001": AnswerClass.WAIT,  # Volume can only be attached when server %s stopped or…
    # Something behind the service failed.
    "0006 0208 1007": AnswerClass.RECONCILE,  # operating the server, asking for the region, "Calling interface failed"
    "0008 0009 0010 0023 0049 0055": AnswerClass.RECONCILE,  # asking for flavors, images, limits, key pairs, capacity
    "0013 0015 0080 0214 3001 3005 3006 3038": AnswerClass.RECONCILE,  # subnets, ports, security groups, EIPs
    "0215 0216 0218": AnswerClass.RECONCILE,  # orders
    "0219 3004 3037": AnswerClass.RECONCILE,  # renaming, creating and starting the server
    "1003 1004 1009 1011": AnswerClass.RECONCILE,  # Attach shareable volume %s fail, volume status is…
    "3019 3021 3029 3033": AnswerClass.RECONCILE,  # creating and attaching the disks of a new server
    # What is asked for does not exist, is locked or frozen, or is not this sender's to ask.
    "0040": Reason.SERVER_NOT_FOUND,  # The server does not exist.
    "0103": Reason.VOLUME_NOT_FOUND,  # Attach volume %s fail, volume…
    "0297": Reason.VOLUME_LOCKED,  # Fail to attach volume[%s]: volume…
    "0360": Reason.VOLUME_FROZEN,  # This operation cannot be performed…
    "0004 0005 0033 0213 0288": Reason.FORBIDDEN,  # roles and policies
    # What is asked for is not possible.
    "0001 0018 0022": Reason.API_REJECTED,  # the request or one of its parameters
    "0002": Reason.API_REJECTED,  # The BMS service is unavailable.
    "0003 0034 0201 0205 0206 0210 0217": Reason.API_REJECTED,  # creating servers: name, number, user data
    "0011 0021 0211 0395 1008": Reason.API_REJECTED,  # image, flavor, operating system, HANA
    "0012 0014 0207 0222 0246 2005 3027": Reason.API_REJECTED,  # VPC, ports and IP addresses
    "0017 0019 0071 0072 0073 0074 0075 0077 0078 0079": Reason.API_REJECTED,  # EIP and bandwidth
    "0025 0026 0027 0028 0029 0030 0031 0054 3028": Reason.API_REJECTED,  # quota and capacity
    "0038 0039": Reason.API_REJECTED,  # Server is running, not allow to…; Server is stopped, not allow to stop.
    "0047 0202 0203 0204 0223 3025": Reason.API_REJECTED,  # the disks of a new server
    "0102 0104 0105 0106 0108 0290 0315 1002 3035": Reason.API_REJECTED,  # attaching a disk
    "0111 3026 3039": Reason.API_REJECTED,  # passwords
}

ROWS: tuple[Row, ...] = (
    *sorted(rows(BMS, MEANINGS, "BMS.")),
    Row("Common.0018", Reason.WRONG_PROJECT, BMS),  # tenantId in token is not the…
    Row("BMS.0400", Reason.API_REJECTED, BMS_2020),  # the image[%s] is not support…
    Row("BMS.3040", Reason.API_REJECTED, BMS_2020),  # The vpcId[%s] is invalid or…
)
